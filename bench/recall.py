"""How much of the words that are on a page become text: the corpus's truth files against layer, OCR and what is chosen.

Every file goes through the project's own doors (`SourceFiles`, `Opener`, `LocalReader`), so that a format counts as
soon as it becomes pages. Recall is the share of the truth's words that are in the text, as often as they are in the
truth; of a truth of kind `must-contain` it is the share of its lines that are there word for word. Files count equally.
"""

from __future__ import annotations

import collections
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from common import settings, workplace

from pipeline.analysis.inspect import Inspector
from pipeline.analysis.text_metrics import line_recall, word_recall
from pipeline.core.errors import OutcomeError
from pipeline.core.languages import english_name
from pipeline.core.models import RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.pages.registration import identified_source
from pipeline.services import open_archive, open_inspector, open_reader
from pipeline.sources import FoundFile, display_path, source_url
from pipeline.vision.reader import Reader
from support.corpus import CORPUS, manifest

COLUMNS = ("language", "format", "files", "pages", "layer", "OCR", "chosen")
#: Files below this are listed by name.
LOW = 0.9
_COMMENT = re.compile("<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A line of the table: of a language and a format, or of one file."""

    language: str
    format: str
    files: str
    pages: str
    layer: str
    ocr: str
    chosen: str


@dataclass(frozen=True)
class Measured:
    """What came of a file."""

    entry: dict[str, Any]
    pages: int
    layer: float | None
    """None where the file has no text layer."""
    ocr: float
    chosen: float


def rows() -> Iterator[Row]:
    with workplace() as home:
        entries = [entry for entry in manifest() if entry.get("truth")]
        passwords = home / "passwords"
        passwords.write_text("".join(f"{Path(e['file']).name}: {e['password']}\n" for e in entries if "password" in e))
        chosen = settings(home, "http://127.0.0.1:9", None, passwords_file=passwords)
        cancel = CancelToken()
        with (
            open_inspector(chosen, cancel) as inspector,
            closing(open_reader(chosen, open_archive(chosen))) as reader,
        ):
            groups: dict[tuple[str, str], list[Measured]] = collections.defaultdict(list)
            for entry in entries:
                try:
                    measured = measure(entry, inspector, reader, cancel)
                except OutcomeError as error:
                    yield Row(_language(entry), entry["format"], entry["file"], "", "", "", f"{error.code}: {error}")
                else:
                    groups[_language(entry), entry["format"]].append(measured)
    for (language, kind), files in sorted(groups.items()):
        yield _row(language, kind, str(len(files)), files)
    for (language, kind), files in sorted(groups.items()):
        for file in files:
            if file.chosen < LOW:
                yield _row(language, kind, file.entry["file"], [file])


def measure(entry: dict[str, Any], inspector: Inspector, reader: Reader, cancel: CancelToken) -> Measured:
    """Read a file in all three ways.

    Raises:
        OutcomeError: it ends in no pages.
    """
    pages = list(rendered(CORPUS / entry["file"], inspector, cancel))
    texts = {
        "layer": "\n".join(page.layer_text or "" for page in pages),
        "ocr": "\n".join(_read(replace(page, layer_text=None), reader, cancel) for page in pages),
        "chosen": "\n".join(_read(page, reader, cancel) for page in pages),
    }
    (truth,) = entry["truth"]
    wanted = _COMMENT.sub("", (CORPUS / truth["file"]).read_text(encoding="utf-8"))
    recall = partial(_recall, line_recall if truth["kind"] == "must-contain" else word_recall)
    return Measured(
        entry,
        len(pages),
        recall(wanted, texts["layer"]) if texts["layer"].strip() else None,
        recall(wanted, texts["ocr"]),
        recall(wanted, texts["chosen"]),
    )


def rendered(path: Path, inspector: Inspector, cancel: CancelToken) -> Iterator[RenderedPage]:
    """Yield a file's pages, with their pixels."""
    url, files, opener = source_url(path), inspector.files, inspector.opener
    state = files.state(url)
    opening = identified_source(FoundFile(url), state, opener, files, inspector.max_file_bytes)
    with (
        opening as (file, document_id, media_type),
        opener.open(file, document_id, display_path(url), media_type, cancel) as opened,
    ):
        for number in range(1, opened.pages + 1):
            yield opened.render(number, with_pixels=True)


def _recall(score: Callable[[str, str], float | None], wanted: str, text: str) -> float:
    found = score(wanted, text)
    assert found is not None, "every truth of the corpus has words"
    return found


def _read(page: RenderedPage, reader: Reader, cancel: CancelToken) -> str:
    return "" if page.blank else reader.read(page, "en", cancel).text or ""


def _row(language: str, kind: str, files: str, measured: Sequence[Measured]) -> Row:
    layers = [file.layer for file in measured if file.layer is not None]
    return Row(
        language,
        kind,
        files,
        str(sum(file.pages for file in measured)),
        f"{statistics.mean(layers):.2f}" if layers else "–",
        f"{statistics.mean(file.ocr for file in measured):.2f}",
        f"{statistics.mean(file.chosen for file in measured):.2f}",
    )


def _language(entry: dict[str, Any]) -> str:
    tags = entry["lang"]
    return english_name(tags[0]) if len(tags) == 1 else "several" if tags else "not said"
