"""After failures: poison messages, sweep, repair, retry."""
