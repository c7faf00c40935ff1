"""`pagesight ask`: answer a question from page images; each answer names its page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from pipeline.analysis.ask import PageAnswer, PageCandidate, PageQuestion, ask_pages, candidates, one_line
from pipeline.archive import Archive
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import plain, print_json, stderr, stdout
from pipeline.cli.progress import PageProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.languages import normalise_tag
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.search import Hit
from pipeline.services import open_archive, open_asker, open_index, open_leases, open_limiter
from pipeline.verbs.lookup import require_collection
from pipeline.vision.reader import AnswerCache, Usage

EXAMPLES = """
**Examples**

`pagesight ask "How many tons of timber were shipped in 1987?"`

`pagesight ask "Wer hat unterschrieben?" --collection contracts --language de --pages 20`

Exit codes: 0 answered, 1 no page has an answer, or the question failed on a page, 2 usage or settings, 3 a service
refuses or is unreachable, 130 interrupted.
"""

PAGES = 8


def ask(
    question: Annotated[str, typer.Argument(help="One question, in quotes.")],
    collection: CollectionFilter = None,
    pages: Annotated[
        int, typer.Option("--pages", "-n", min=1, max=1000, help="Maximum number of pages to ask.")
    ] = PAGES,
    language: Annotated[
        str | None,
        typer.Option(
            "--language", "-l", help="Language of the answers, as a BCP 47 tag.", show_default="PAGESIGHT_LANGUAGE"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a question from page images; each answer names its page."""
    settings = load()
    asked = one_line(question)
    tag = normalise_tag(language) if language else settings.language
    _refuse_without_model(settings)
    archive = open_archive(settings)
    with closing(open_index(settings)) as index:
        require_collection(archive, collection, index)
        found = list(candidates(index.queries, asked, collection, pages))
    findings, usage = _ask(settings, archive, asked, tag, found)
    if as_json:
        print_json({"question": asked, "language": tag, **_json(findings, usage, archive)})
    else:
        stdout().print(Group(*_shown(findings)))
        for line in _failed(findings):
            stderr().print(line)
    raise typer.Exit(_ended(findings))


def _refuse_without_model(settings: Settings) -> None:
    if not settings.uses_model:
        raise SettingsError(
            "answering questions needs a vision model, and none is configured",
            remedy="Set JINA_API_KEY, or PAGESIGHT_VLM_URL and PAGESIGHT_VLM_MODEL for your own endpoint. "
            "`pagesight search` works without a model.",
        )


def _ask(
    settings: Settings, archive: Archive, question: str, language: str, pages: list[PageCandidate]
) -> tuple[list[PageAnswer], Usage]:
    cancel = CancelToken()
    cache = AnswerCache(archive.answers, open_leases(settings))
    with closing(open_asker(settings, open_limiter(settings))) as asker, interruptible(cancel):
        page_question = PageQuestion(question, language, archive, asker, cache, cancel)
        with PageProgress(len(pages), "asked", cancel, stderr()) as progress:
            return ask_pages(page_question, pages, settings.vlm_concurrency, progress.show), asker.usage


def _shown(findings: list[PageAnswer]) -> Iterator[Text]:
    answers = [finding for finding in findings if finding.answer is not None]
    for number, finding in enumerate(answers, 1):
        yield Text(f"{number:>2}. ") + plain(finding.answer) + plain(" … (cut off)" if finding.cut_off else "", "dim")
        yield Text("    ") + plain(_page_name(finding.hit), "bold") + plain(f"  {finding.hit.collection}", "dim")
    if not answers:
        yield plain("No page answers this." if findings else "No page answers this: no page contains any of its words.")
    bearing = sum(finding.bears for finding in findings)
    yield plain(f"pages asked: {len(findings)}, relevant: {bearing}, with an answer: {len(answers)}", "dim")


def _failed(findings: list[PageAnswer]) -> Iterator[Text]:
    for finding in findings:
        if finding.error is not None:
            yield plain(f"{_page_name(finding.hit)} failed: {finding.error}", "yellow")


def _page_name(hit: Hit) -> str:
    label = hit.page_label
    known_as = f" ({label})" if label and label != str(hit.page_number) else ""
    return f"{hit.document.name}, page {hit.page_number}{known_as}"


def _json(findings: list[PageAnswer], usage: Usage, archive: Archive) -> dict[str, Any]:
    return {
        "answers": [
            {"answer": finding.answer, "cut_off": finding.cut_off, **_page_json(finding.hit, archive)}
            for finding in findings
            if finding.answer is not None
        ],
        "pages_asked": len(findings),
        "pages_bearing": sum(finding.bears for finding in findings),
        "failures": [
            {
                **_page_json(finding.hit, archive),
                "type": finding.error.code,
                "message": str(finding.error),
                "remedy": finding.error.remedy,
            }
            for finding in findings
            if finding.error is not None
        ],
        "model_calls": usage.calls,
        "tokens": usage.tokens,
    }


def _page_json(hit: Hit, archive: Archive) -> dict[str, Any]:
    return {
        "id": hit.id,
        "collection": hit.collection,
        "document": asdict(hit.document),
        "page": hit.page_number,
        "label": hit.page_label,
        "image": archive.images.location(hit.image_key) if hit.image_key else None,
    }


def _ended(findings: list[PageAnswer]) -> ExitCode:
    answered = any(finding.answer is not None for finding in findings)
    failed = any(finding.error is not None for finding in findings)
    return ExitCode.OK if answered and not failed else ExitCode.SOME_FAILED
