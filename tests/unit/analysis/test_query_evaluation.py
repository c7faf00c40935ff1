"""Files of known queries: a wrong line is named, with the form that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.analysis.query_evaluation import KnownQuery, read_queries
from pipeline.core.errors import SettingsError


def test_queries_are_read_from_lines(tmp_path: Path):
    file = tmp_path / "queries.jsonl"
    file.write_text(
        '{"query": "dues", "relevant": ["a.pdf:3"]}\n\n{"query": "é", "relevant": ["b"], "kind": "exact"}\n'
    )
    assert read_queries(file) == [
        KnownQuery(query="dues", relevant=("a.pdf:3",), kind="all"),
        KnownQuery(query="é", relevant=("b",), kind="exact"),
    ]


def test_a_byte_order_mark_and_separators_within_a_query_are_read(tmp_path: Path):
    file = tmp_path / "queries.jsonl"
    file.write_bytes(
        '\ufeff{"query": "dues\u2028fees", "relevant": ["a"]}\r\n{"query": "b", "relevant": ["c"]}'.encode()
    )
    assert [one.query for one in read_queries(file)] == ["dues\u2028fees", "b"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "has no queries"),
        (b"{}\n", "line 1: query: Field required"),
        (b'{"query": "a", "relevant": ["x"]}\n{"query": "a"', "line 2: "),
        (b'{"query": "a", "relevant": []}', "line 1: relevant"),
        (b'{"query": "a", "relevant": ["x"], "page": 3}', "line 1: page"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"query": "  ", "relevant": ["x"]}', "line 1: query"),
        (b'{"query": "' + b"a" * 70_000 + b'", "relevant": ["x"]}', "more than 65,536 characters"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, content: bytes, cause: str):
    file = tmp_path / "queries.jsonl"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=cause) as refused:
        read_queries(file)
    assert '"relevant"' in refused.value.remedy
