"""Pages a second against what the endpoint could give, and a second run over pages that are known."""

from __future__ import annotations

from collections.abc import Iterator

from common import Row, index, make_pdf, node, one_question, settings, standin, workplace

LATENCY_SECONDS = 2.0


def rows() -> Iterator[Row]:
    with node() as url:
        for in_flight, pages in ((16, 480), (64, 1920)):
            yield throughput(url, in_flight, pages)
        yield second_run(url)


def throughput(url: str, in_flight: int, pages: int) -> Row:
    """One call a page. The last answers' latency is part of the time, as it is for a person."""
    with workplace() as home, standin(LATENCY_SECONDS) as model:
        document = make_pdf(home / "pages.pdf", pages, seed=in_flight)
        chosen = settings(home, url, model, vlm_concurrency=in_flight)
        tally, seconds, calls = index(chosen, [document], one_question())
        peak = model.counters()["peak_in_flight"]
    assert tally.pages_done == calls == pages
    assert peak <= in_flight
    ideal = in_flight / LATENCY_SECONDS
    return Row(
        f"{pages} pages, one call each, the model takes 2 s, {in_flight} in flight (peak {peak})",
        f"{pages / seconds:.1f} pages/s of {ideal:.0f}",
        f"{pages / seconds / ideal:.3f}",
        ">= 0.95",
    )


def second_run(url: str) -> Row:
    """Half the pages in one document, half in documents of one page."""
    with workplace() as home, standin(0) as model:
        folder = home / "in"
        folder.mkdir()
        make_pdf(folder / "many.pdf", 500, seed=1)
        for number in range(500):
            make_pdf(folder / f"{number}.pdf", 1, seed=1000 + number)
        chosen = settings(home, url, model, vlm_concurrency=16)
        index(chosen, [folder], one_question())
        tally, seconds, calls = index(chosen, [folder], one_question())
    assert calls == 0
    assert tally.pages_unchanged == tally.pages_done == 1000
    return Row(
        "second run over 1,000 pages in 501 files, 0 calls", f"{1000 / seconds:.0f} pages/s", "", ">= 300 pages/s"
    )
