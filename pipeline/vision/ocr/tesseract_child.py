"""The process that has Tesseract read pages in scripts of which RapidOCR's models know nothing.

Arguments: the program, the names of its models, and the socket's descriptor. For each page Tesseract is run as a
program of its own, on raw pixels through a pipe, so that it opens no file but its models: first to tell the script,
then to read. What it is not certain of is no reading: the page then comes back without lines.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from unicodedata import name

from pipeline.vision.ocr.serving import FindLines, Line, serve

#: Raised by hand whenever the settings below give other lines.
TESSERACT_REVISION = 1

#: Models by script, in order of preference. Scripts are those that Tesseract's `osd` model tells, but for Latin, Han
#: and Japanese, which RapidOCR reads. A script's own model knows its languages and Latin at once, and is as good as a
#: language's together with English and faster; but where words stand without spaces, or syllables close together, it
#: sets a space after each character (word recall on a Korean page 0.51 against 0.92).
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

#: Address space in MiB, of this process and of Tesseract, which takes less than 0.3 GiB for a page image of twice its
#: size (measured).
_MEMORY_MB = 2048
#: CPU seconds of one run. Pages of a corpus took 0.6 to 3.4.
_CPU_SECONDS = 90
#: One thread. A second one waits by spinning: on two busy cores a page took 29 s instead of 0.9.
_ENVIRONMENT = {"OMP_THREAD_LIMIT": "1"}
#: A page image has letters of 10 px, half of what Tesseract was trained on. Twice the size raised word recall from 0.53
#: to 0.91 on an Arabic page and from 0.81 to 0.92 on a Korean one; three times the size raised it no further.
_SCALE = 2
_MAX_SIDE_PX = 8192
#: Characters from which the script is told: its default, then few enough for a headline. A wrong guess shows in what is
#: read.
_OSD_CHARACTERS = (50, 5)
#: RapidOCR reads Chinese and Japanese: what it cannot read and is taken for one of them is Korean.
_KOREAN = ("Hangul", "Han", "Hiragana", "Katakana", "Japanese")
#: Mean confidence from which a reading is believed: models read their own script with 0.74 or more, any other with 0.66
#: or less, but for Thai on Hebrew with 0.72.
_CERTAIN = 0.7
#: Share of letters that are of the page's script: less, and Latin was taken for something else, letter by letter.
_OWN_LETTERS = 0.3
#: With fewer letters than this the guess of the script is worth little, and the other models are tried as well.
_FEW_LETTERS = 100
#: Page segmentation: a page with columns and pictures, or one block, where nothing is found otherwise.
_LAYOUTS = ("3", "6")
#: What Tesseract puts around Latin words between words that run from right to left.
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c"))


def main() -> None:
    """Serve until the parent goes."""
    program, *installed, descriptor = sys.argv[1:]
    serve(int(descriptor), partial(_load, program, installed), _MEMORY_MB, {resource.RLIMIT_FSIZE: 0})


def models_for(installed: Iterable[str]) -> dict[str, str]:
    """Return what to hand over as `-l`, by script, for those that something is installed for."""
    # Upstream keeps the models of scripts in a folder, Debian does not.
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
    program: str, models: dict[str, str], pixels: bytes, width: int, height: int
) -> tuple[list[Line], str | None]:
    """Return the lines of a picture in raw RGB, with corners in its own pixels, and the model that read them.

    Nothing where the page's script is one of RapidOCR's, or nothing is installed for it.
    """
    plain = _pnm(pixels, width, height)
    script = _tell_script(program, plain)
    if script is not None and script not in models:
        return [], None
    tried = {script: models[script]} if script else {}
    # Headlines are as large as they should be; enlarged they fall into pieces.
    for picture, scale in (_enlarged(pixels, width, height), (plain, 1.0)):
        lines, model = _best(program, tried, picture, scale)
        if model is not None:
            return lines, model
    if sum(len(line["text"]) for line in lines) > _FEW_LETTERS:
        return [], None
    others = {other: model for other, model in models.items() if other != script}
    lines, model = _best(program, others, plain, 1.0)
    return (lines, model) if model else ([], None)


def _best(program: str, models: dict[str, str], picture: bytes, scale: float) -> tuple[list[Line], str | None]:
    """Return the most certain reading, and its model where it can be believed."""
    readings = [(_read(program, model, picture, scale), script) for script, model in models.items()]
    lines, script = max(readings, key=lambda reading: _certainty(reading[0]), default=([], ""))
    believed = _certainty(lines) >= _CERTAIN and _is_written_in(script, lines)
    return lines, models[script] if believed else None


def _is_written_in(script: str, lines: Sequence[Line]) -> bool:
    prefix = "HANGUL" if script == "Korean" else script.upper()
    letters = [character for line in lines for character in line["text"] if character.isalpha()]
    return sum(name(letter, "").startswith(prefix) for letter in letters) >= _OWN_LETTERS * len(letters)


def _load(program: str, installed: Sequence[str]) -> FindLines:
    return partial(find_lines, program, models_for(installed))


def _tell_script(program: str, picture: bytes) -> str | None:
    """Return the script of a picture, or None where there are too few characters to tell."""
    for characters in _OSD_CHARACTERS:
        said = _run(program, picture, "--psm", "0", "-c", f"min_characters_to_try={characters}")
        if found := re.search(rb"^Script: (\w+)", said or b"", re.MULTILINE):
            script = found[1].decode()
            return "Korean" if script in _KOREAN else script
    return None


def _read(program: str, model: str, picture: bytes, scale: float) -> list[Line]:
    for layout in _LAYOUTS:
        said = _run(program, picture, "--psm", layout, "-l", model, "tsv", "txt")
        if said is None:
            raise RuntimeError(f"Tesseract cannot read the page with {model}")
        if lines := _lines(said.decode(errors="replace").translate(_MARKS), scale):
            return lines
    return []


def _run(program: str, picture: bytes, *options: str) -> bytes | None:
    """Run Tesseract on a PNM picture, and return what it prints, or None where it says that it cannot."""
    with subprocess.Popen(
        [program, "stdin", "stdout", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _ENVIRONMENT,
    ) as running:
        resource.prlimit(running.pid, resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        said, _ = running.communicate(picture)
    if running.returncode < 0:
        raise RuntimeError(f"Tesseract was ended by signal {-running.returncode}")
    return said if running.returncode == 0 else None


def _lines(said: str, scale: float) -> list[Line]:
    """Return the lines of a page from Tesseract's TSV, and their text from the text that follows it.

    Columns of the TSV are level, page, block, paragraph, line and word number, left, top, width, height, confidence in
    percent, and text. Level 5 is a word, for Korean a syllable: only the text tells where the spaces are. Both have the
    words in the order in which they are read.
    """
    words = defaultdict(list)
    texts = {}
    for row in said.splitlines():
        cells = row.split("\t", 11)
        if len(cells) < 12:
            texts[_squeezed(row)] = row.strip()
        elif cells[0] == "5" and (text := cells[11].strip()):
            left, top, width, height = map(int, cells[6:10])
            words[tuple(cells[1:5])].append((text, float(cells[10]) / 100, (left, top, left + width, top + height)))
    lines = [_line(line, scale) for line in words.values()]
    return [line | {"text": texts.get(_squeezed(line["text"]), line["text"])} for line in lines]


def _squeezed(text: str) -> str:
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
    """Return the mean confidence of lines, by letters; 0 where there are none."""
    letters = sum(len(line["text"]) for line in lines)
    weighted: float = sum(len(line["text"]) * line["confidence"] for line in lines)
    return weighted / (letters or 1)


def _enlarged(pixels: bytes, width: int, height: int) -> tuple[bytes, float]:
    """Return a picture as PNM in the size in which it is read, and its scale."""
    import cv2
    import numpy as np

    scale = min(_SCALE, _MAX_SIDE_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture: Any = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    return _pnm(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).tobytes(), *size), scale


def _pnm(pixels: bytes, width: int, height: int) -> bytes:
    """Return raw RGB as a picture in the one format that needs no decoder: https://netpbm.sourceforge.net/doc/ppm.html"""
    return b"P6 %d %d 255\n" % (width, height) + pixels


if __name__ == "__main__":
    main()
