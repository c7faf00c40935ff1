"""The readers of pages: the jina-vlm client, or the local reader if no model is configured."""
