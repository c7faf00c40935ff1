"""The OCR process: RapidOCR on raw pixels, alone in its process because it takes up to 0.8 GB.

It opens no file but RapidOCR's own models. Lines that were seen and not read come with an empty text: they tell that
the page is in a script of which the models know nothing.
"""

from __future__ import annotations

import math
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.vision.ocr.serving import FindLines, Line, serve

#: Raised by hand whenever the settings below give other lines.
OCR_REVISION = 2

#: Address space in MiB. Reading a page image takes 1.1 GiB of it at most (measured), of which 0.8 is resident.
_MEMORY_MB = 3072
_THREADS = 2
#: A picture's sides relate as 1 to this at most when it is read: the detector scales the short side to 736 px, so a
#: strip would become a picture of 100 Mpx.
_MAX_RATIO = 3
_MAX_SIDE_PX = 2048
#: A picture of 1 x 1 px makes the detector fail.
_MIN_SIDE_PX = 32
#: Share of lines that the classifier takes to be upside down from which they are read both ways: 0.86 to 1.0 of pages
#: that were, at most 0.57 of upright ones in a script that the models know (measured on a corpus).
_TURNED_SHARE = 0.5


def main() -> None:
    """Serve until the parent goes. The argument is the socket's descriptor."""
    serve(int(sys.argv[-1]), load_reader, _MEMORY_MB)


def load_reader() -> FindLines:
    """Load RapidOCR with the models of its wheel. Their paths are given, since it would download what it misses.

    Lines are recognised one by one: six at once, its default, take half as much memory again and are no faster on two
    cores (measured).
    """
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(_THREADS)
    models = Path(str(files("rapidocr"))) / "models"
    engine = RapidOCR(
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
    return lambda pixels, width, height: (find_lines(engine, pixels, width, height), None)


def find_lines(engine: Any, pixels: bytes, width: int, height: int) -> list[Line]:
    """Return the lines of a picture in raw RGB, with corners in its own pixels.

    These are the steps of RapidOCR's own call, which leaves out the lines that it could not read, and turns each one
    that its classifier takes to be upside down: of an upright page up to half of them.
    """
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    picture, scale = _prepare(pixels, width, height)
    steps = {"preprocess": {"ratio_h": 1.0, "ratio_w": 1.0}}
    try:
        crops, found = engine.detect_and_crop(picture, steps)
    except RapidOCRError:  # nothing is there
        return []
    boxes = map_boxes_to_original(found.boxes, steps, *picture.shape[:2]) / scale
    upright = [_is_upright(box) for box in boxes]
    lines: list[Line] = []
    for kind in (False, True):  # lines of one direction stand, or lie upside down, together
        places = [place for place, its_kind in enumerate(upright) if its_kind is kind]
        lines += _recognise(engine, [crops[place] for place in places], [boxes[place] for place in places])
    return lines


def _is_upright(box: Any) -> bool:
    """Whether RapidOCR lays a line on its side before it reads it (`get_rotate_crop_image`)."""
    width = max(math.dist(box[0], box[1]), math.dist(box[3], box[2]))
    height = max(math.dist(box[0], box[3]), math.dist(box[1], box[2]))
    return int(height) / max(1, int(width)) >= 1.5


def _recognise(engine: Any, crops: list[Any], boxes: list[Any]) -> list[Line]:
    if not crops:
        return []
    read = engine.recognize_txt(crops)
    labels = engine.cls_and_rotate(crops)[1].cls_res
    if sum(label == "180" for label, _ in labels) >= _TURNED_SHARE * len(crops):
        turned = engine.recognize_txt([crop[::-1, ::-1] for crop in crops])
        if sum(turned.scores) > sum(read.scores):
            read, boxes = turned, [(*box[2:], *box[:2]) for box in boxes]
    return [
        {
            "text": text.strip(),
            "confidence": round(float(score), 3),
            "corners": [[round(float(x), 1), round(float(y), 1)] for x, y in box],
        }
        for text, score, box in zip(read.txts, read.scores, boxes, strict=True)
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


if __name__ == "__main__":
    main()
