"""Answers by reading the image (`--read`). Imported only then."""

from __future__ import annotations

import threading

from rapidocr import RapidOCR


class ImageReader:
    """Reads one image at a time, in one thread: tests run beside it."""

    def __init__(self) -> None:
        one_thread = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
        self._recognise = RapidOCR(params={"Global.log_level": "critical", **one_thread})
        self._lock = threading.Lock()
        self._known: dict[bytes, str] = {}

    def text(self, image: bytes) -> str:
        """Return the text of an image; one that several questions show is read once."""
        with self._lock:
            if image not in self._known:
                found = self._recognise(image)
                self._known[image] = "\n".join(getattr(found, "txts", None) or ())
            return self._known[image]
