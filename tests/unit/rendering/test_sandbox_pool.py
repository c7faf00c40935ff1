from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from pipeline.core.errors import CorruptFile, Stopped
from pipeline.core.formats import MediaType
from pipeline.core.retry import CancelToken
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, drawn_pdf, encoded, opened, render, sandboxes, the_sandbox

ME = psutil.Process()


@pytest.fixture
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(2, LIMITS)
    yield pool
    pool.close()
    assert not sandboxes()


def hello() -> bytes:
    return drawn_pdf(lambda paper: paper.drawString(72, 700, "hello"))


def test_children_start_when_needed_are_used_again_and_end_with_the_pool(pool: SandboxPool) -> None:
    assert not sandboxes()
    for _ in range(3):
        render(pool, hello(), MediaType.PDF)
    child = the_sandbox()
    pool.close()
    assert not psutil.pid_exists(child.pid)  # which a zombie's does


def test_an_urgent_document_does_not_wait_for_those_that_are_open(pool: SandboxPool) -> None:
    urgent = CancelToken().within(60, urgent=True)
    with opened(pool, hello(), MediaType.PDF), opened(pool, hello(), MediaType.PDF):
        assert len(sandboxes()) == 2
        for _ in range(2):
            with opened(pool, hello(), MediaType.PDF, urgent) as document:
                assert document.pages == 1
        assert len(sandboxes()) == 3
    with opened(pool, hello(), MediaType.PDF, urgent):
        assert len(sandboxes()) == 3


def test_nobody_waits_for_a_sandbox_longer_than_his_patience_lasts(pool: SandboxPool) -> None:
    with (
        opened(pool, hello(), MediaType.PDF),
        opened(pool, hello(), MediaType.PDF),
        pytest.raises(Stopped),
        opened(pool, hello(), MediaType.PDF, CancelToken().within(0.3)),
    ):
        pytest.fail("there was a third one")
    assert render(pool, hello(), MediaType.PDF).layer_text == "hello"


def test_a_closed_pool_opens_nothing(pool: SandboxPool) -> None:
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        render(pool, hello(), MediaType.PDF)


def test_threads_share_the_pool_and_wait_for_their_turn(pool: SandboxPool) -> None:
    found: list[str | None] = []

    def work(number: int) -> None:
        data = drawn_pdf(lambda paper: paper.drawString(72, 700, f"document {number}"))
        found.append(render(pool, data, MediaType.PDF).layer_text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == [f"document {number}" for number in range(8)]
    assert len(sandboxes()) == 2


def test_the_file_is_read_by_descriptor_from_its_start(pool: SandboxPool, tmp_path: Path) -> None:
    path = tmp_path / "a name no shell would like #?%\n.pdf"
    path.write_bytes(hello())
    with path.open("rb") as file:
        file.seek(17)
        path.unlink()
        with pool.open(file, MediaType.PDF) as document:
            assert document.render(1).layer_text == "hello"
        assert file.tell() == 17


def test_a_child_sees_nothing_of_the_environment(pool: SandboxPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGESIGHT_VLM_API_KEY", "a-secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    render(pool, hello(), MediaType.PDF)
    child = the_sandbox()
    assert set(child.environ()) == {"PATH", "LANG", "MALLOC_ARENA_MAX"}


def test_a_child_is_held_within_its_limits(pool: SandboxPool) -> None:
    render(pool, hello(), MediaType.PDF)
    child = the_sandbox()
    memory = LIMITS.memory_mb << 20
    assert child.rlimit(psutil.RLIMIT_AS) == (memory, memory)
    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_NOFILE)[1] <= 32
    assert child.rlimit(psutil.RLIMIT_CPU)[0] <= LIMITS.page_seconds + 10
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_a_child_carries_only_what_its_files_need(pool: SandboxPool) -> None:
    render(pool, hello(), MediaType.PDF)
    child = the_sandbox()
    mapped = " ".join(part.path for part in child.memory_maps())
    assert "pdfium" in mapped
    assert "pydantic" not in mapped
    assert "numpy" not in mapped


def test_nothing_leaks_over_many_files_good_and_bad(pool: SandboxPool) -> None:
    png = encoded(Image.new("RGB", (9, 9)), "PNG")
    files = [(hello(), MediaType.PDF), (b"junk", MediaType.PDF), (png, MediaType.PNG), (png[:40], MediaType.PNG)]

    def open_all(times: int) -> tuple[int, int]:
        for _ in range(times):
            for data, media_type in files:
                try:
                    render(pool, data, media_type)
                except CorruptFile:
                    continue
        child = the_sandbox()
        return ME.num_fds(), child.num_fds()

    first = open_all(2)
    assert open_all(50) == first


def test_a_document_that_is_done_is_closed_in_the_child(pool: SandboxPool) -> None:
    with opened(pool, hello(), MediaType.PDF) as document:
        document.render(1)
        child = the_sandbox()
        during = child.num_fds()
    assert child.num_fds() < during


@pytest.mark.slow
def test_memory_stays_flat_over_the_pages_of_one_document() -> None:
    def line(number: int) -> Callable[[Canvas], None]:
        def draw(paper: Canvas) -> None:
            for row in range(40):
                paper.drawString(60, 780 - 18 * row, f"page {number}, row {row}, and enough words to fill it" * 2)

        return draw

    data = drawn_pdf(*map(line, range(360)))
    pool = SandboxPool(1, replace(LIMITS, max_pages=360))
    try:
        with opened(pool, data, MediaType.PDF) as document:
            resident = {}
            for number in range(1, 361):
                document.render(number)
                resident[number] = the_sandbox().memory_info().rss
    finally:
        pool.close()
    assert resident[360] - resident[60] < 5 << 20


def test_a_file_object_without_descriptor_is_the_callers_mistake(pool: SandboxPool) -> None:
    with pytest.raises(OSError), pool.open(io.BytesIO(hello()), MediaType.PDF):
        pass
    assert render(pool, hello(), MediaType.PDF).layer_text == "hello"
