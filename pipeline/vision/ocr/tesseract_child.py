"""The process that runs Tesseract on pages in scripts that RapidOCR's models do not know.

Arguments: CPU seconds of one run, the program, the names of its models, and the socket's descriptor. Tesseract runs as
a separate program and gets raw pixels through a pipe, so it opens no files except its models. It first detects the
script of a page and then reads the page. If the result is uncertain, no lines are returned.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import name

from pipeline.vision.ocr.serving import FindLines, Line, ocr_rights, serve

#: Revision of the settings below. Raise it by hand if a change of them changes the lines that are found.
TESSERACT_REVISION = 1

#: Models by script, in order of preference. The scripts are those of Tesseract's `osd` model, without Latin, Han and
#: Japanese, which RapidOCR reads. The model of a script covers its languages and Latin. It is as good as a language's
#: model plus English, and faster, so it comes first. In scripts without spaces, or with close syllables, it comes last,
#: because it inserts a space after each character (word recall on a Korean page: 0.51 instead of 0.92).
MODELS = {
    "Arabic": ("Arabic", "ara", "fas", "urd"),
    "Armenian": ("Armenian", "hye"),
    "Bengali": ("Bengali", "ben", "asm"),
    "Cyrillic": ("Cyrillic", "rus", "ukr", "bul", "srp"),
    "Devanagari": ("Devanagari", "hin", "mar", "nep"),
    "Ethiopic": ("Ethiopic", "amh"),
    "Georgian": ("Georgian", "kat"),
    "Greek": ("Greek", "ell"),
    "Gujarati": ("Gujarati", "guj"),
    "Gurmukhi": ("Gurmukhi", "pan"),
    "Hebrew": ("Hebrew", "heb", "yid"),
    "Kannada": ("Kannada", "kan"),
    "Khmer": ("khm", "Khmer"),
    "Korean": ("kor", "Hangul"),
    "Lao": ("lao", "Lao"),
    "Malayalam": ("Malayalam", "mal"),
    "Myanmar": ("mya", "Myanmar"),
    "Oriya": ("Oriya", "ori"),
    "Sinhala": ("Sinhala", "sin"),
    "Tamil": ("Tamil", "tam"),
    "Telugu": ("Telugu", "tel"),
    "Thai": ("tha", "Thai"),
}
_OSD = "osd"
_ENGLISH = "eng"

#: The program with what limits it, as the beginning of a command.
Engine = tuple[str, ...]
#: Limit of address space in MiB, for this process and for Tesseract. Tesseract used less than 0.3 GiB for a page image
#: at scale 2.
_MEMORY_MB = 2048
#: Bounds the CPU time of a program before it begins, in seconds: the filter of system calls allows no process to set
#: the limits of another one. The parent counts the runs of a page together.
_WITHIN_CPU_SECONDS = ("/bin/sh", "-c", 'ulimit -t "$0" && exec "$@"')
#: One thread. A second thread waits by spinning: on two busy cores a page took 29 s instead of 0.9 s.
_ENVIRONMENT = {"OMP_THREAD_LIMIT": "1"}
#: Letters on a page image are about 10 px high, half the size that Tesseract was trained on. Scale 2 raised word recall
#: from 0.53 to 0.91 on an Arabic page and from 0.81 to 0.92 on a Korean one. Scale 3 did not raise it further.
_SCALE = 2
_MAX_SIDE_PX = 8192
#: Minimum number of characters for detecting the script: first Tesseract's default, then few enough for a headline.
#: A wrongly detected script is noticed by the confidence of the reading.
_OSD_CHARACTERS = (50, 5)
#: Detected scripts that mean Korean. RapidOCR reads Chinese and Japanese, so a page that it cannot read is neither.
_KOREAN = ("Hangul", "Han", "Hiragana", "Katakana", "Japanese")
#: Minimum mean confidence of a reading. Models reached 0.74 or more on their own script and 0.66 or less on others,
#: except the Thai model with 0.72 on Hebrew.
_CERTAIN = 0.7
#: Minimum share of letters in the model's script. A lower share means that Latin letters were misread.
_OWN_LETTERS = 0.3
#: Up to this number of letters, the detected script is unreliable, and the other models are tried too.
_FEW_LETTERS = 100
#: Page segmentation modes: first a page with columns and pictures; if nothing was found, one block.
_LAYOUTS = ("3", "6")
#: Direction marks that Tesseract puts around Latin words in right-to-left text.
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c"))


def main() -> None:
    """Serve until the parent ends."""
    cpu_seconds, program, *installed, descriptor = sys.argv[1:]
    engine = (*_WITHIN_CPU_SECONDS, cpu_seconds, program)
    serve(int(descriptor), partial(_load, engine, installed), ocr_rights(_MEMORY_MB, program=Path(program)))


def models_for(installed: Iterable[str]) -> dict[str, str]:
    """Return the value of Tesseract's option `-l` by script, for scripts with an installed model."""
    # Upstream stores the models of scripts in a subfolder; Debian does not.
    names = {name.removeprefix("script/"): name for name in installed}
    if _OSD not in names:
        return {}
    chosen = {}
    for script, models in MODELS.items():
        model = next((names[model] for model in models if model in names), None)
        if model is not None:
            with_english = model.islower() and _ENGLISH in names
            chosen[script] = f"{model}+{_ENGLISH}" if with_english else model
    return chosen


def find_lines(
    engine: Engine, models: dict[str, str], pixels: bytes, width: int, height: int
) -> tuple[list[Line], str | None]:
    """Return the lines of an image in raw RGB, with corners in its own pixels, and the model that read them.

    There are no lines and no model if RapidOCR reads the page's script, if no model for it is installed, or if every
    reading is uncertain.
    """
    plain = _pnm(pixels, width, height)
    script = _detect_script(engine, plain)
    if script is not None and script not in models:
        return [], None
    tried = {script: models[script]} if script else {}
    # Headlines already have the right size; enlarged letters are split into pieces.
    for image, scale in (_enlarged(pixels, width, height), (plain, 1.0)):
        lines, model = _best(engine, tried, image, scale)
        if model is not None:
            return lines, model
    if sum(len(line["text"]) for line in lines) > _FEW_LETTERS:
        return [], None
    others = {other: model for other, model in models.items() if other != script}
    lines, model = _best(engine, others, plain, 1.0)
    return (lines, model) if model else ([], None)


def _best(engine: Engine, models: dict[str, str], image: bytes, scale: float) -> tuple[list[Line], str | None]:
    """Return the reading with the highest confidence, and its model; None as the model if it is uncertain."""
    readings = [(_read(engine, model, image, scale), script) for script, model in models.items()]
    lines, script = max(readings, key=lambda reading: _certainty(reading[0]), default=([], ""))
    is_certain = _certainty(lines) >= _CERTAIN and _is_written_in(script, lines)
    return lines, models[script] if is_certain else None


def _is_written_in(script: str, lines: Sequence[Line]) -> bool:
    prefix = "HANGUL" if script == "Korean" else script.upper()
    letters = [character for line in lines for character in line["text"] if character.isalpha()]
    return sum(name(letter, "").startswith(prefix) for letter in letters) >= _OWN_LETTERS * len(letters)


def _load(engine: Engine, installed: Sequence[str]) -> FindLines:
    return partial(find_lines, engine, models_for(installed))


def _detect_script(engine: Engine, image: bytes) -> str | None:
    """Return the script of an image, or None if it has too few characters."""
    for characters in _OSD_CHARACTERS:
        output = _run(engine, image, "--psm", "0", "-c", f"min_characters_to_try={characters}")
        if found := re.search(rb"^Script: (\w+)", output or b"", re.MULTILINE):
            script = found[1].decode()
            return "Korean" if script in _KOREAN else script
    return None


def _read(engine: Engine, model: str, image: bytes, scale: float) -> list[Line]:
    for layout in _LAYOUTS:
        output = _run(engine, image, "--psm", layout, "-l", model, "tsv", "txt")
        if output is None:
            raise RuntimeError(f"Tesseract cannot read the page with {model}")
        if lines := _lines(output.decode(errors="replace").translate(_MARKS), scale):
            return lines
    return []


def _run(engine: Engine, image: bytes, *options: str) -> bytes | None:
    """Run Tesseract on a PNM image, and return its output, or None if it reports an error."""
    with subprocess.Popen(
        [*engine, "stdin", "stdout", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _ENVIRONMENT,
    ) as running:
        output, _ = running.communicate(image)
    if running.returncode < 0:
        raise RuntimeError(f"Tesseract was ended by signal {-running.returncode}")
    return output if running.returncode == 0 else None


def _lines(output: str, scale: float) -> list[Line]:
    """Return the lines of a page: boxes from Tesseract's TSV, and texts from the plain text after it.

    The columns of the TSV are: level, page, block, paragraph, line and word number, left, top, width, height,
    confidence in percent, and text. Level 5 is a word, or a syllable in Korean, so only the plain text has the right
    spaces. TSV and plain text are in reading order.
    """
    words = defaultdict(list)
    texts = {}
    for row in output.splitlines():
        cells = row.split("\t", 11)
        if len(cells) < 12:
            texts[_without_spaces(row)] = row.strip()
        elif cells[0] == "5" and (text := cells[11].strip()):
            left, top, width, height = map(int, cells[6:10])
            words[tuple(cells[1:5])].append((text, float(cells[10]) / 100, (left, top, left + width, top + height)))
    lines = [_line(line, scale) for line in words.values()]
    return [line | {"text": texts.get(_without_spaces(line["text"]), line["text"])} for line in lines]


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _line(words: Sequence[tuple[str, float, tuple[int, int, int, int]]], scale: float) -> Line:
    lefts, tops, rights, bottoms = zip(*(box for _, _, box in words), strict=True)
    edges = min(lefts), min(tops), max(rights), max(bottoms)
    left, top, right, bottom = (round(edge / scale, 1) for edge in edges)
    letters = sum(len(text) for text, _, _ in words)
    return {
        "text": " ".join(text for text, _, _ in words),
        "confidence": round(sum(len(text) * confidence for text, confidence, _ in words) / letters, 3),
        "corners": [[left, top], [right, top], [right, bottom], [left, bottom]],
    }


def _certainty(lines: Sequence[Line]) -> float:
    """Return the mean confidence of lines, weighted by letters; 0 without lines."""
    letters = sum(len(line["text"]) for line in lines)
    weighted: float = sum(len(line["text"]) * line["confidence"] for line in lines)
    return weighted / (letters or 1)


def _enlarged(pixels: bytes, width: int, height: int) -> tuple[bytes, float]:
    """Return an image as PNM, enlarged for reading, and its scale."""
    import cv2
    import numpy as np

    scale = min(_SCALE, _MAX_SIDE_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image: Any = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    return _pnm(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).tobytes(), *size), scale


def _pnm(pixels: bytes, width: int, height: int) -> bytes:
    """Return raw RGB as PNM, an image format that needs no decoder: https://netpbm.sourceforge.net/doc/ppm.html"""
    return b"P6 %d %d 255\n" % (width, height) + pixels


if __name__ == "__main__":
    main()
