"""Who reads a page: the jina-vlm client, or the local reader where no model is configured."""
