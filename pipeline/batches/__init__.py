"""A batch's life, in this process or in the queue."""
