"""Reading by a model: the questions of a page and the ladder of repeated requests."""
