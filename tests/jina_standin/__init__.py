"""A stand-in for jina-vlm's endpoint: the documented API and its faults, over real HTTP. It is no model.

`python tests/jina_standin` starts it and prints its base URL. It needs the standard library only, unless it is told to
read images (`--read`), which takes RapidOCR.
"""
