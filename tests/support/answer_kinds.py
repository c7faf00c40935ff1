"""The labelled set by kinds of failure: answers that users of other tools reported, and pages that only look broken.

`tests/data/broken_answers.jsonl` has a line for each kind with the public issue thread that reports it (null for kinds
that were reported in words only); the inputs are our own. `tests/data/clean_pages.jsonl` has ordinary pages full of
repetition, apologies and symbols. Half of the kinds are held out: they were split by `SEED` before a rule was written.
A broken answer is dealt with if a fault is seen, or if cleaning leaves the page's text.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.vision.quality.checks import Context, Fault, check
from support.corpus import CORPUS
from support.labelled_answers import page_context, prose_context

SEED = "kinds/20261201"
DATA = Path(__file__).resolve().parents[1] / "data"
CORPUS_KIND = "pages of the corpus"
#: Marks of the corpus' makers in its truth texts.
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
#: Ink per character and squared height of a letter: the range measured on the corpus, without its ends.
_INK_PER_SQUARE = (0.45, 1.6)
_GLYPH_PX = 8.0
_NAMES = "Adebayo Almeida Bergström Dvořák Farouk Haddad Jankowski Moreau Nakamura Okafor Petrenko Rosenthal".split()


@dataclass(frozen=True)
class Case:
    """An answer, what is known of its page, and what it would be if it were right."""

    kind: str
    content: str
    context: Context
    expected: str | None
    """None for an answer that no cleaning mends."""
    clean: bool


def held_out(kind: str, kinds: Iterable[str]) -> bool:
    """Whether a kind is in the half that no rule was written for: every second one in the order of a seeded hash."""
    ranked = sorted(kinds, key=lambda name: hashlib.sha256(f"{SEED}/{name}".encode()).digest())
    return ranked.index(kind) % 2 == 1


def shown(page: str, rng: random.Random, *, layer: bool) -> Context:
    """What is known of a page with this text: a scan or a page with a layer, in a lean or a fat face."""
    ink_px = rng.uniform(*_INK_PER_SQUARE) * _GLYPH_PX**2 * sum(map(len, page.split()))
    context = page_context(page, layer=layer)
    share = max(0.001, ink_px / (context.width_px * context.height_px))
    return replace(context, ink_share=share, glyph_px=_GLYPH_PX)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def letters() -> dict[str, str]:
    return {entry["lang"]: entry["page"] for entry in lines("letters.jsonl")}


def broken_cases() -> Iterator[Case]:
    for entry in lines("broken_answers.jsonl"):
        for number, case in enumerate(entry["cases"]):
            yield _broken(entry["kind"], case, random.Random(f"{SEED}/{entry['kind']}/{number}"))


def _broken(kind: str, case: dict[str, Any], rng: random.Random) -> Case:
    page = letters()[case["lang"]]
    content = _assembled(case["answer"], page, rng)
    if case.get("asks") == "description":
        context = prose_context(case["lang"], content)
        expected = content.rpartition("</think>")[2].strip() if "</think>" in content else None
        return Case(kind, content, context, expected, clean=False)
    context = shown(page, rng, layer=case.get("layer", False))
    if case.get("blank"):
        context = page_context(page, layer=False, blank=True, ink_share=0.0)
    return Case(kind, content, context, page, clean=False)


def clean_cases() -> Iterator[Case]:
    for entry in lines("clean_pages.jsonl"):
        for number, case in enumerate(entry["cases"]):
            rng = random.Random(f"{SEED}/{entry['kind']}/{number}")
            page = "".join(_rows(piece, case["lang"], rng) for piece in _listed(case["page"])).strip()
            for layer in (False, True):
                yield Case(entry["kind"], page, shown(page, random.Random(page), layer=layer), page, clean=True)
    if CORPUS.is_dir():
        for page in corpus_texts():
            for layer in (False, True):
                yield Case(CORPUS_KIND, page, shown(page, random.Random(page), layer=layer), page, clean=True)


def corpus_texts() -> Iterator[str]:
    """Yield the corpus' true texts, in pieces of a page."""
    for path in sorted((CORPUS / "truth").iterdir()):
        text = _COMMENT.sub("", path.read_text(encoding="utf-8", errors="ignore")).strip()
        for start in range(0, len(text), 3000):
            if len(piece := text[start : start + 3000].strip()) >= 20:
                yield piece


def is_right(case: Case) -> bool:
    checked = check(case.content, case.context)
    if case.clean:
        return not checked.faults and _plain(checked.content) == _plain(case.content)
    return bool(checked.faults) or (case.expected is not None and _plain(checked.content) == _plain(case.expected))


def faults(case: Case) -> tuple[Fault, ...]:
    return check(case.content, case.context).faults


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _listed(pieces: Any) -> list[Any]:
    return pieces if isinstance(pieces, list) else [pieces]


def _assembled(pieces: Any, page: str, rng: random.Random) -> str:
    return "".join(_piece(piece, page, rng) for piece in _listed(pieces))


def _piece(piece: str | dict[str, Any], page: str, rng: random.Random) -> str:
    if isinstance(piece, str):
        return _filled(piece, page)
    if "repeat" in piece:
        unit = _filled(piece["repeat"], page)
        return "".join(unit.replace("{n}", str(number)) for number in range(1, piece["times"] + 1))
    return _OPERATIONS[piece.get("op") or piece["json"]](page, rng)


def _filled(template: str, page: str) -> str:
    half = len(page.splitlines()) // 2
    values = {"page": page, "first": "\n".join(page.splitlines()[:half]), "last": "\n".join(page.splitlines()[half:])}
    values |= {f"page:{tag}": text for tag, text in letters().items()}
    return re.sub(r"\{([a-z]+(?::[a-z]+)?)\}", lambda match: values.get(match[1], match[0]), template)


def _weave(page: str, rng: random.Random) -> str:
    del rng
    words = page.split()
    rows = [" ".join(words[start : start + 5]) for start in range(0, len(words), 5)]
    half = len(rows) // 2
    return "\n".join(f"{left} {right}" for left, right in zip(rows[:half], rows[half:], strict=False))


def _shuffle(page: str, rng: random.Random) -> str:
    words = page.split()
    rng.shuffle(words)
    return " ".join(words)


def _every(letters_of: dict[str, str], step: int) -> Callable[[str, random.Random], str]:
    """Return an operation that replaces every `step`th of some letters."""

    def operation(page: str, rng: random.Random) -> str:
        del rng
        seen, written = 0, []
        for letter in page:
            seen += letter in letters_of
            written.append(letters_of[letter] if letter in letters_of and seen % step == 0 else letter)
        return "".join(written)

    return operation


def _mojibake(page: str, rng: random.Random) -> str:
    del rng
    return page.encode().decode("latin-1")


def _byte_tokens(page: str, rng: random.Random) -> str:
    """The alphabet in which tokenizers of GPT-2's kind write bytes."""
    del rng
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = {byte: chr(256 + rank) for rank, byte in enumerate(b for b in range(256) if b not in plain)}
    return "".join(chr(byte) if byte in plain else others[byte] for byte in page.encode())


def _replacement(page: str, rng: random.Random) -> str:
    return "".join("�" if letter.isalpha() and rng.random() < 0.12 else letter for letter in page)


_OPERATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "boxes": lambda page, rng: json.dumps(
        [
            {"bbox": [12, 40 * number, 833, 40 * number + 30], "category": "Text", "text": line}
            for number, line in enumerate(page.splitlines())
            if line
        ],
        ensure_ascii=False,
    ),
    "text": lambda page, rng: json.dumps({"text": page}, ensure_ascii=False),
    "natural_text": lambda page, rng: json.dumps(
        {"primary_language": "de", "is_table": False, "natural_text": page}, ensure_ascii=False
    ),
    "fenced": lambda page, rng: f"```json\n{json.dumps({'content': page}, ensure_ascii=False, indent=2)}\n```",
    "latex": lambda page, rng: "\n".join(f"$\\text{{{line}}}$" if line else "" for line in page.splitlines()),
    "html": lambda page, rng: "\n".join(f"<p><b>{line}</b></p>" if line else "" for line in page.splitlines()),
    "escaped": lambda page, rng: json.dumps(page),
    "weave": _weave,
    "shuffle": _shuffle,
    "mixed scripts": _every(dict(zip("aeimnoru", "છרמদחסয়", strict=False)) | {"o": "ס", "r": "ר", "u": "પ"}, 6),
    "lookalikes": _every(dict(zip("aeopcx", "аеорсх", strict=True)), 3),
    "latin lookalikes": _every(dict(zip("аеорсх", "aeopcx", strict=True)), 3),
    "cid": lambda page, rng: "\n".join(
        "".join(f"(cid:{ord(letter) % 200})" for letter in line) for line in page.splitlines()[:9]
    ),
    "mojibake": _mojibake,
    "bpe": _byte_tokens,
    "replacement": _replacement,
}


def _rows(piece: str | dict[str, Any], language: str, rng: random.Random) -> str:
    if isinstance(piece, str):
        return _field(piece, language, rng, 1)
    return "".join(_field(piece["rows"], language, rng, number) for number in range(1, piece["times"] + 1))


def _field(template: str, language: str, rng: random.Random, number: int) -> str:
    words = [word.strip(".,;:،。।") for word in letters().get(language, letters()["en"]).split()]
    makers: dict[str, Callable[[], str]] = {
        "n": lambda: str(number),
        "k": lambda: str(rng.randint(2, 9)),
        "page": lambda: str(rng.randint(10, 999)),
        "amount": lambda: f"{rng.uniform(1, 900):.2f}",
        "year": lambda: str(rng.randint(1890, 2024)),
        "date": lambda: f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.2024",
        "time": lambda: f"{rng.randint(5, 23):02}:{rng.randint(0, 59):02}",
        "name": lambda: rng.choice(_NAMES),
        "initial": lambda: rng.choice("ABCDEFGH"),
        "word": lambda: rng.choice(words),
        "words": lambda: " ".join(rng.choices(words, k=3)),
        "line": lambda: " ".join(rng.choices(words, k=7)),
        "dna": lambda: "".join(rng.choices("ACGT", k=10)),
    }
    return re.sub(r"\{([a-z]+)\}", lambda match: makers[match[1]]() if match[1] in makers else match[0], template)


@dataclass(frozen=True)
class KindScore:
    """How often answers of one kind were judged rightly."""

    kind: str
    held_out: bool
    clean: bool
    cases: int
    right: int
    wrong: tuple[Case, ...]


def kind_scores(cases: Iterable[Case]) -> list[KindScore]:
    """Check the cases, and return the scores by kind."""
    by_kind: dict[str, list[tuple[bool, Case]]] = {}
    for case in cases:
        by_kind.setdefault(case.kind, []).append((is_right(case), case))
    return [
        KindScore(
            kind,
            held_out(kind, by_kind),
            found[0][1].clean,
            len(found),
            sum(right for right, _ in found),
            tuple(case for right, case in found if not right),
        )
        for kind, found in by_kind.items()
    ]
