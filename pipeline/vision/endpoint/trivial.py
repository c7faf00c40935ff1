"""The trivial question, which every model that takes images can answer: is it the page, or the service, that fails?"""

from importlib.resources import files

#: A white square of 64 pixels, the smallest image that Jina's own services describe. It is sent if no other page shows
#: whether the model is unavailable or a single page cannot be answered.
CANARY_IMAGE = files("pipeline.vision.endpoint") / "canary.jpg"
#: A white page of 842 x 1190 pixels, the size of an A4 page as it is sent.
PAGE_IMAGE = files("pipeline.vision.endpoint") / "blank_page.jpg"
CANARY_PROMPT = "Is this image blank? Answer yes or no."
CANARY_MAX_TOKENS = 8
