"""The OCR process: RapidOCR on raw pixels, alone in its process because it takes up to 0.8 GB.

It is started by `pipeline.vision.ocr`, opens no file but RapidOCR's own models, and ends with its parent. Parent and
child talk over a stream socket:

    width and height (4 bytes each, network order), then width x height x 3 bytes of RGB, rows top down
    -> a length (4 bytes) and JSON: {"lines": [{"text": …, "corners": [[x, y] x 4]}, …]}
                                 or {"error": …}      this page cannot be read
                                 or {"unusable": …}   no page can
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import struct
import sys
import threading
from importlib.resources import files
from pathlib import Path
from typing import Any

REQUEST_HEAD = struct.Struct("!II")
REPLY_HEAD = struct.Struct("!I")
#: Raised by hand whenever the settings below give other lines.
OCR_REVISION = 1

#: Address space in MiB. Reading a page image takes 1.1 GiB of it at most (measured), of which 0.8 is resident.
_MEMORY_MB = 3072
_THREADS = 2
#: A picture's sides relate as 1 to this at most when it is read: the detector scales the short side to 736 px, so a
#: strip would become a picture of 100 Mpx.
_MAX_RATIO = 3
_MAX_SIDE_PX = 2048
#: A picture of 1 x 1 px makes the detector fail.
_MIN_SIDE_PX = 32


def main() -> None:
    """Serve until the parent goes. The argument is the socket's descriptor."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _end_with_parent(connection)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MB << 20, _MEMORY_MB << 20))
    engine = None
    while (head := connection.recv(REQUEST_HEAD.size, socket.MSG_WAITALL)) != b"":
        width, height = REQUEST_HEAD.unpack(head)
        pixels = connection.recv(3 * width * height, socket.MSG_WAITALL)
        reply: dict[str, Any]
        try:
            engine = engine or load_engine()
        except Exception as error:  # whatever a broken installation raises; the parent tells people
            reply = {"unusable": f"{type(error).__name__}: {error}"[:500]}
        else:
            try:
                reply = {"lines": find_lines(engine, pixels, width, height)}
            except (
                Exception
            ) as error:  # RapidOCR translates nothing: numpy's, OpenCV's and onnxruntime's errors come through
                reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        body = json.dumps(reply).encode()
        connection.sendall(REPLY_HEAD.pack(len(body)) + body)


def load_engine() -> Any:
    """Load RapidOCR with the models of its wheel. Their paths are given, since it would download what it misses.

    Lines are recognised one by one: six at once, its default, take half as much memory again and are no faster on two
    cores (measured).
    """
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(_THREADS)
    models = Path(str(files("rapidocr"))) / "models"
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_preprocess_img": False,
            "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
            "Cls.model_path": str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
            "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
            "Rec.rec_batch_num": 1,
            "EngineConfig.onnxruntime.intra_op_num_threads": _THREADS,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def find_lines(engine: Any, pixels: bytes, width: int, height: int) -> list[dict[str, Any]]:
    """Return the lines of a picture in raw RGB, with corners in its own pixels."""
    picture, scale = _prepare(pixels, width, height)
    found = engine(picture)
    if found.boxes is None or found.txts is None:
        return []
    return [
        {"text": text, "corners": [[round(float(x) / scale, 1), round(float(y) / scale, 1)] for x, y in box]}
        for text, box in zip(found.txts, found.boxes, strict=True)
    ]


def _prepare(pixels: bytes, width: int, height: int) -> tuple[Any, float]:
    """Return the picture in OpenCV's order of channels, and its scale.

    Page images mostly stay as they are; long ones are reduced and narrow ones widened with white.
    """
    import cv2
    import numpy as np

    picture: Any = np.ascontiguousarray(np.frombuffer(pixels, np.uint8).reshape(height, width, 3)[:, :, ::-1])
    scale = min(1.0, _MAX_SIDE_PX / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    side = max(_MIN_SIDE_PX, max(picture.shape[:2]) // _MAX_RATIO)
    below, beside = (max(0, side - length) for length in picture.shape[:2])
    if below or beside:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return picture, scale


def _end_with_parent(connection: socket.socket) -> None:
    """Exit when the socket's other end closes, even in the middle of a C call."""

    def watch() -> None:
        hangup = select.poll()
        hangup.register(connection, 0)
        hangup.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
