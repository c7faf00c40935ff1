"""The table of formats: complete rows, signatures that cannot be slowed down, and a README that says the same."""

from __future__ import annotations

import re
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from pipeline.core import signatures
from pipeline.core.errors import UnsupportedFormat
from pipeline.core.formats import DJVULIBRE, LIBREOFFICE, Envelope, MediaType, Route, find_format
from pipeline.core.signatures import HEAD_BYTES
from pipeline.sources import media_type_of

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
#: Formats that the README calls otherwise than the table; a protected file is what it is without its password.
NAMES = {
    MediaType.WORD_2003: "word and excel 2003",
    MediaType.EXCEL_2003: "word and excel 2003",
    MediaType.FLAT_ODT: "opendocument as one XML file",
    MediaType.FLAT_ODS: "opendocument as one XML file",
    MediaType.FLAT_ODP: "opendocument as one XML file",
    MediaType.FLAT_ODG: "opendocument as one XML file",
    MediaType.JP2: "JPEG 2000",
    MediaType.SEVEN_ZIP: "7z",
    MediaType.PROTECTED_OOXML: "PPTX",
}


def test_each_format_is_found_by_its_value() -> None:
    assert [MediaType(kind.value) for kind in MediaType] == list(MediaType)
    assert [Envelope(kind.value) for kind in Envelope] == list(Envelope)


@pytest.mark.parametrize("kind", MediaType)
def test_each_row_has_what_its_route_needs(kind: MediaType) -> None:
    row = kind.row
    assert row.decoder
    if kind.route is Route.CONVERTED:
        assert row.decoder in (LIBREOFFICE, DJVULIBRE)
        assert row.suffix.startswith(".")
    if kind.route is Route.IMAGE:
        assert row.signatures
        assert not row.suffix


def test_each_decoder_of_an_image_is_its_own() -> None:
    decoders = [kind.row.decoder for kind in MediaType if kind.route is Route.IMAGE]
    assert len(set(decoders)) == len(decoders)


def hostile(unit: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return (before + unit * HEAD_BYTES)[: HEAD_BYTES - len(after)] + after


#: Heads on which a backtracking pattern would take minutes to thousands of years.
HOSTILE = [
    hostile(b" #", b"P5"),
    hostile(b" #\n", b"P6"),
    hostile(b" ", b"P1"),
    hostile(b"\n #", b"P4", b"x"),
    hostile(b"a", b"<!doctype "),
    hostile(b"a[", b"<!doctype "),
    hostile(b"a ", b"<!doctype html "),
    hostile(b"[]", b"<!doctype x"),
    hostile(b" ", b"<!doctype "),
    hostile(b"<!---->"),
    hostile(b"<!--"),
    hostile(b"<??>", b"<"),
    hostile(b"<?"),
    hostile(b" ", b"<"),
    hostile(b"a.", b"<"),
    hostile(b"a:", b"<"),
    hostile(b"a", b"From: x\nDate: 1 Jan"),
    hostile(b"1 Jan", b"From: x\nDate: "),
    hostile(b"x\t", b"From"),
    hostile(b"From:\n"),
    hostile(b"1", b"\n"),
    hostile(b"\n1 1 ob"),
    hostile(b"trailer\n"),
    hostile(b"\n", b"trailer"),
    hostile(b"mif2", b"\x00\x00\xff\xffftyp"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_head_is_identified_in_linear_time(number: int) -> None:
    assert len(HOSTILE[number]) == HEAD_BYTES
    try:
        media_type_of(HOSTILE[number])
    except UnsupportedFormat:
        return


@pytest.mark.timeout(60)
def test_an_anymap_of_83_bytes_whose_comments_do_not_end_is_refused() -> None:
    with pytest.raises(UnsupportedFormat):
        media_type_of(b"P5" + b" #" * 40 + b"!")


def repetitions(parsed: Any) -> list[int]:
    """The most times that each repetition in a pattern may match."""
    found = []
    for operator, argument in parsed:
        if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            found += [int(argument[1]), *repetitions(argument[2])]
        elif operator is _constants.SUBPATTERN:
            found += repetitions(argument[3])
        elif operator is _constants.BRANCH:
            found += [most for branch in argument[1] for most in repetitions(branch)]
    return found


def test_no_pattern_for_heads_repeats_without_bound() -> None:
    patterns = [value.pattern for value in vars(signatures).values() if isinstance(value, re.Pattern)]
    assert patterns
    assert [one for one in patterns if max(repetitions(_parser.parse(one)), default=0) > 10] == []
    assert repetitions(_parser.parse(r"P(?:\s+#|x*)")) == [_constants.MAXREPEAT] * 2  # the measure sees what it should


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"P5 # a\n# b\n\t8 8\n", MediaType.PNM),
        (b"P5#a\n8", None),
        (b"P58", None),
        (b"P7 8", None),
        (b"P", None),
        (b'<!DOCTYPE svg [<!ENTITY a "<html>">] ><svg>', MediaType.SVG),
        (b"<!DOCTYPE svg [<!ENTITY", None),
        (b"<?xml?><?more?><s:svg>", MediaType.SVG),
        (b"<svg:rect>", None),
        (b"<a.b:svg/>", MediaType.SVG),
        (b"<!-- <svg> -->", None),
        (b"<!doctype HTML><x>", MediaType.HTML),
        (b"From : a\nMessage-ID\t: b\n\n", MediaType.EML),
        (b"From a: b\nMessage-ID: c\n\n", None),
        (b"From: a\nDate: 5 September 2026\n\n", MediaType.EML),
        (b"x\ntrailer \n<<", MediaType.PDF),
        (bytes(257) + b"ustar" + b"%PDF-", MediaType.TAR),
    ],
)
def test_scanners_know_the_grammar(head: bytes, media_type: MediaType | None) -> None:
    assert find_format(head) is media_type


def test_the_readme_names_each_format() -> None:
    listed = re.search(r"- \*\*Formats\*\*: (.*?)\n- \*\*Pictures", README, re.DOTALL)
    assert listed is not None
    words = " ".join(listed[1].split()).casefold()
    missing = [
        kind.name
        for kind in MediaType
        if not re.search(rf"(?<![a-z]){NAMES.get(kind, kind.name).casefold()}(?![a-z])", words)
    ]
    assert missing == []
