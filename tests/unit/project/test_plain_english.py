"""Docstrings, comments, help, errors, log events and web pages are written in plain English.

Each pattern below is an idiom that takes a second reading. What people read of a room may have at most one hit in a
thousand words. A pattern is a hint, not a verdict: rewrite the sentence, do not dodge the expression.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAX_PER_THOUSAND = 1.0

#: Verbs after which a leading "who" is the subject of a sentence rather than a question or a relative clause.
_ACTS = "is|has|had|wants|asks|waits|finds|did|does|begins|stops|calls|takes|gets|fails|ends|dies|opens|reads|can|may"

PATTERNS = {
    "so many, so much (name the number)": r"\bso (?:many|much|often|long|few)\b",
    "as many as (name the number)": r"\bas (?:many|much|often) (?:\w+ ){0,3}as\b",
    "such a": r"\bsuch an?\b",
    "is no X (write: not a, without)": r"(?<!there )\b(?:is|are|was|were|be) no (?!longer|more\b|way)\w+",
    "no more, any more (write: no longer)": r"\bno more\b(?! than)|\bany more\b",
    "anew (write: again)": r"\banew\b",
    "of which, of whom": r"\bof (?:which|whom)\b",
    "whoever": r"\bwhoever\b",
    "who as a subject (name the component)": rf"(?:^|[.:;,(] )who (?:{_ACTS})\b",
    "a clause with what as a noun": (
        r'(?:^|[.:;] |")(?-i:What) (?:is|was|are|were|a|an|the|it|they|has|had|lies|of|goes|comes|differs|follows|each|'
        r"nobody|makes|remains|belongs)\b"
    ),
    "work a page (write: process, handle)": (
        r"\b(?:is|are|was|were|be|been) worked\b|"
        r"\bwork(?:s|ed|ing)? (?:a |the |its |of )?(?:pages?|ranges?|messages?|batch(?:es)?)\b"
    ),
    "told, tells of (write: reports)": r"\b(?:is|are|was|were|be) told\b|\btells? of\b",
    "asked about (write: queried)": r"\basked about\b",
    "comes to (write: becomes, amounts to)": r"\b(?:comes|came|come) to\b",
    "how it stands": r"\bhow (?:\w+ ){1,4}stands?\b",
    "stands in (write: is in)": r"\b(?:stands?|stood) (?:so|still|beside|in|there)\b",
    "lies in (write: is stored in)": r"\b(?:lies|lay|lying)\b|\blie (?:in|there|beside|below|under)\b",
    "those that": r"\bthose (?:that|which|who)\b",
    "behind the back, by the way": r"\bbehind .{0,20}back\b|\bby the way\b",
    "all the same, for all that": r"\ball the same\b|\bfor all that\b",
    "nobody, nothing as an actor": r"\bnobody (?:asks|knows|has|is|was|does|works|reads)\b",
    "from now on, from then on": r"\bfrom (?:now|then) on\b",
    "in its stead": r"\bin (?:its|their|the) stead\b",
}
_COMPILED = {name: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for name, pattern in PATTERNS.items()}


def prose_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings, comments and every string constant of three words or more, with their lines."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    for node in strings:
        if id(node) in docstrings or len(str(node.value).split()) > 2:
            yield node.lineno, str(node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


def prose_of_template(source: str) -> Iterator[tuple[int, str]]:
    """Text of a page without its tags, styles, scripts and expressions."""
    without = re.sub(
        r"<(style|script)\b.*?</\1>|\{[{%#].*?[}%#]\}|<[^>]*>",
        lambda m: " " + "\n" * m[0].count("\n"),
        source,
        flags=re.S,
    )
    yield from ((number, line) for number, line in enumerate(without.splitlines(), 1) if line.strip())


READERS = {".py": prose_of_python, ".html": prose_of_template, ".jinja": prose_of_template, ".j2": prose_of_template}


def rooms() -> list[str]:
    below = sorted(path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and any(path.rglob("*.py")))
    return [*(f"pipeline/{name}" for name in below), "pipeline/services.py", "workers"]


def files(room: str) -> list[Path]:
    place = ROOT / room
    return [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.suffix in READERS)


def read(room: str) -> tuple[int, list[str]]:
    """Number of words in a room, and its hits as `file:line: pattern: words around it`."""
    words, hits = 0, []
    for path in files(room):
        for line, text in READERS[path.suffix](path.read_text(encoding="utf-8")):
            words += len(text.split())
            hits += [f"{path.relative_to(ROOT)}:{line + at}: {name}: {around}" for at, name, around in found(text)]
    return words, hits


def found(text: str) -> Iterator[tuple[int, str, str]]:
    for name, pattern in _COMPILED.items():
        for match in pattern.finditer(text):
            around = text[max(0, match.start() - 20) : match.end() + 30]
            yield text.count("\n", 0, match.start()), name, " ".join(around.split())


@pytest.mark.parametrize("room", rooms())
def test_a_room_reads_plainly(room: str) -> None:
    words, hits = read(room)
    assert 1000 * len(hits) / max(1, words) <= MAX_PER_THOUSAND, "\n".join([f"{len(hits)} in {words} words:", *hits])


def test_prose_is_found_wherever_people_read_it() -> None:
    source = '"""Rendered anew."""\n# stored anew\nlog.warning("the page is rendered anew", page=1)\nother = "anew"\n'
    assert [number for number, text in prose_of_python(source) for _ in found(text)] == [1, 3, 2]
    page = "<style>p { a: anew }</style>\n<p class='anew'>{{ anew }} rendered\nanew</p>"
    assert [number for number, text in prose_of_template(page) for _ in found(text)] == [3]


def test_plain_sentences_have_no_hits() -> None:
    text = "Return the pages of a document, in order. Raise NotFound if the archive holds none of them."
    assert list(found(text)) == []
