"""Reading on this machine: OCR processes, line order, measured descriptions."""
