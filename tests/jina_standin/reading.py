"""Answers by reading the image (`--read`). Imported only then."""

from __future__ import annotations

import threading

from rapidocr import RapidOCR


class ImageReader:
    """One at a time: the recogniser takes every core it finds anyway."""

    def __init__(self) -> None:
        self._recognise = RapidOCR(params={"Global.log_level": "critical"})
        self._lock = threading.Lock()

    def text(self, image: bytes) -> str:
        with self._lock:
            found = self._recognise(image)
        return "\n".join(getattr(found, "txts", None) or ())
