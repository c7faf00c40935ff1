"""Comparing and repairing a finished state: archive, index, folders, stale pages."""
