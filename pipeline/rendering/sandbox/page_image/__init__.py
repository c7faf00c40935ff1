"""The page image: size, crops, measures, JPEG."""
