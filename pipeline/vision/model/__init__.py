"""Reading with a model: the questions about a page and the ladder of attempts."""
