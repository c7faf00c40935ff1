"""Checks of answers and text: repetition, refusals, cleanup, stitching, text layer."""
