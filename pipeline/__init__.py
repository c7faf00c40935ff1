"""Pagesight's stages: from a file to the records of its pages. Start reading at `pipeline.pages.process`."""
