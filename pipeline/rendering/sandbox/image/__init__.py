"""Image files: decoding, colour, orientation, metadata."""
