"""The OCR process: RapidOCR on raw pixels, in its own process because it takes up to 0.8 GB.

It opens only RapidOCR's own models. Lines that were detected but not read have an empty text: they show that the page
is in a script that the models do not know.
"""

from __future__ import annotations

import math
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.vision.ocr.serving import FindLines, Line, ocr_rights, serve

#: Raise it by hand if a change of the settings below changes the lines.
OCR_REVISION = 2

#: Address space in MiB. Reading a page image takes at most 1.1 GiB of it, 0.8 GiB resident (measured).
_MEMORY_MB = 3072
_THREADS = 2
#: Largest ratio of an image's sides for detection. The detector scales the short side to 736 px, so a strip would
#: become an image of 100 Mpx.
_MAX_RATIO = 3
_MAX_SIDE_PX = 2048
#: The detector fails on an image of 1 x 1 px.
_MIN_SIDE_PX = 32
#: Share of lines classified as upside down from which the lines are read both ways. It is 0.86 to 1.0 on pages that are
#: upside down, and at most 0.57 on upright pages in a script that the models know (measured on a corpus).
_TURNED_SHARE = 0.5


def main() -> None:
    """Serve until the parent ends. The argument is the socket's descriptor."""
    serve(int(sys.argv[-1]), load_reader, ocr_rights(_MEMORY_MB))


def load_reader() -> FindLines:
    """Load RapidOCR with the models of its wheel. Their paths are given, because it downloads missing models.

    Lines are recognised one by one. Its default of six at once takes 1.5 times the memory and is not faster on two
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
    """Return the lines of an image in raw RGB, with corners in its own pixels.

    These are the steps of RapidOCR's own call. That call drops lines that it cannot read, and turns each line that its
    classifier reports as upside down, which are up to half of the lines of an upright page.
    """
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    image, scale = _prepare(pixels, width, height)
    steps = {"preprocess": {"ratio_h": 1.0, "ratio_w": 1.0}}
    try:
        crops, found = engine.detect_and_crop(image, steps)
    except RapidOCRError:  # no lines detected
        return []
    boxes = map_boxes_to_original(found.boxes, steps, *image.shape[:2]) / scale
    upright = [_is_upright(box) for box in boxes]
    lines: list[Line] = []
    for kind in (False, True):  # all lines of one direction are upside down, or none is
        indices = [index for index, its_kind in enumerate(upright) if its_kind is kind]
        lines += _recognise(engine, [crops[index] for index in indices], [boxes[index] for index in indices])
    return lines


def _is_upright(box: Any) -> bool:
    """Return whether RapidOCR turns a line by 90° before it reads it (`get_rotate_crop_image`)."""
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
    """Return the image in OpenCV's order of channels, and its scale.

    Most page images are unchanged; large ones are reduced, and narrow ones are widened with white.
    """
    import cv2
    import numpy as np

    image: Any = np.ascontiguousarray(np.frombuffer(pixels, np.uint8).reshape(height, width, 3)[:, :, ::-1])
    scale = min(1.0, _MAX_SIDE_PX / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    side = max(_MIN_SIDE_PX, max(image.shape[:2]) // _MAX_RATIO)
    below, beside = (max(0, side - length) for length in image.shape[:2])
    if below or beside:
        image = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return image, scale


if __name__ == "__main__":
    main()
