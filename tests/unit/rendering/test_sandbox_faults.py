"""Children that crash, hang, swell, are killed or lie: each costs one page, and its reading can name the cause."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.core.errors import (
    OutcomeError,
    RenderCrashed,
    RenderOutOfMemory,
    RenderTimeout,
    ServiceRefused,
)
from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import (
    LIMITS,
    content_that_inflates,
    drawn_pdf,
    opened,
    png_that_inflates,
    render,
    sandboxes,
    shading_that_takes_minutes,
    the_sandbox,
)


def three_pages() -> bytes:
    return drawn_pdf(*[lambda paper: paper.drawString(72, 700, "a page")] * 3)


@pytest.fixture
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, replace(LIMITS, page_seconds=20, wall_seconds=20))
    yield pool
    pool.close()
    assert not sandboxes()


@pytest.fixture
def impatient() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, replace(LIMITS, page_seconds=2))
    yield pool
    pool.close()
    assert not sandboxes()


def die_in_the_middle(number: signal.Signals) -> tuple[psutil.Process, threading.Timer]:
    """Have the sandbox die of a signal a moment from now, in the middle of what it is given next."""
    child = the_sandbox()
    child.suspend()
    killer = threading.Timer(0.2, lambda: (child.send_signal(number), child.resume()))
    killer.start()
    return child, killer


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGSEGV, "crashed with SIGSEGV"), (signal.SIGABRT, "crashed with SIGABRT")],
)
def test_a_child_that_crashes_costs_one_page(pool: SandboxPool, number: signal.Signals, words: str) -> None:
    with opened(pool, three_pages(), MediaType.PDF) as document:
        assert document.render(1).layer_text == "a page"
        child, killer = die_in_the_middle(number)
        with pytest.raises(RenderCrashed, match=words):
            document.render(2)
        killer.join()
        assert document.render(3).layer_text == "a page"
        assert the_sandbox().pid != child.pid
        assert not psutil.pid_exists(child.pid)  # which a zombie's does


def test_the_memory_of_a_large_parent_is_not_its_childs(pool: SandboxPool):
    held = bytearray(b"x") * (LIMITS.memory_mb << 20)
    with opened(pool, three_pages(), MediaType.PDF) as document:
        _, killer = die_in_the_middle(signal.SIGABRT)
        with pytest.raises(RenderCrashed, match="crashed with SIGABRT"):
            document.render(2)
        killer.join()
    del held


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_was_ended_from_outside_costs_no_page(pool: SandboxPool, number: signal.Signals) -> None:
    with opened(pool, three_pages(), MediaType.PDF) as document:
        child, killer = die_in_the_middle(number)
        assert document.render(2).layer_text == "a page"
        killer.join()
        assert the_sandbox().pid != child.pid


def test_a_child_that_was_killed_between_two_pages_costs_none(pool: SandboxPool) -> None:
    with opened(pool, three_pages(), MediaType.PDF) as document:
        document.render(1)
        the_sandbox().kill()
        assert document.render(2).layer_text == "a page"


def test_a_child_that_stopped_is_cut_off_by_the_clock() -> None:
    pool = SandboxPool(1, replace(LIMITS, wall_seconds=2))
    with closing(pool), opened(pool, three_pages(), MediaType.PDF) as document:
        the_sandbox().suspend()
        with pytest.raises(RenderTimeout, match="not done within 2 seconds by the clock") as raised:
            document.render(1)
        assert "PAGESIGHT_PAGE_WALL_SECONDS" in raised.value.remedy
        assert document.render(2).layer_text == "a page"


def test_a_page_that_waits_for_its_neighbours_is_not_cut_off(impatient: SandboxPool) -> None:
    with opened(impatient, three_pages(), MediaType.PDF) as document:
        child = the_sandbox()
        child.suspend()
        waker = threading.Timer(3, child.resume)  # longer than the CPU time that a page may take
        waker.start()
        assert document.render(1).layer_text == "a page"
        waker.join()


def test_a_page_that_takes_minutes_is_cut_off(impatient: SandboxPool) -> None:
    with pytest.raises(RenderTimeout, match="more than 2 seconds of CPU time") as raised:
        render(impatient, shading_that_takes_minutes(), MediaType.PDF)
    assert "PAGESIGHT_PAGE_SECONDS" in raised.value.remedy
    assert render(impatient, three_pages(), MediaType.PDF).layer_text == "a page"


def test_a_picture_that_wants_too_much_memory_is_stopped_by_the_limit() -> None:
    pool = SandboxPool(1, replace(LIMITS, memory_mb=256, max_pixels=10**9))
    try:
        with pytest.raises(RenderOutOfMemory, match="256 MiB"):
            render(pool, png_that_inflates(24_000), MediaType.PNG)
        assert render(pool, png_that_inflates(800), MediaType.PNG).blank
    finally:
        pool.close()


def test_a_pdf_that_wants_too_much_memory_is_stopped_by_the_limit() -> None:
    # What this process held at its peak would count as its child's: 5 has Linux forget it, see proc_pid_clear_refs(5).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    pool = SandboxPool(1, LIMITS)
    try:
        with pytest.raises(RenderOutOfMemory, match=f"{LIMITS.memory_mb} MiB"):
            render(pool, content_that_inflates(), MediaType.PDF)
        assert render(pool, three_pages(), MediaType.PDF).layer_text == "a page"
    finally:
        pool.close()


@pytest.mark.parametrize("busy", [False, True])
def test_children_end_when_their_parent_is_killed(busy: bool) -> None:
    program = (
        "import sys, tempfile\n"
        "from pipeline.core.formats import MediaType\n"
        "from pipeline.rendering.host.pool import SandboxPool\n"
        "from pipeline.rendering.protocol import RenderLimits\n"
        "file = tempfile.TemporaryFile()\n"
        "file.write(sys.stdin.buffer.read())\n"
        "file.flush()\n"
        "limits = RenderLimits(600, 600, 1024, 50, 10**8, 1_000, 100)\n"
        "with SandboxPool(1, limits).open(file, MediaType.PDF) as document:\n"
        "    print('open', flush=True)\n"
        "    document.render(1)\n"
        "    print('rendered', flush=True)\n"
        "    import time; time.sleep(600)\n"
    )
    data = shading_that_takes_minutes() if busy else three_pages()
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(data)
        parent.stdin.close()
        assert parent.stdout.readline() == b"open\n"
        if not busy:
            assert parent.stdout.readline() == b"rendered\n"
        (child,) = psutil.Process(parent.pid).children()
        if busy:
            wait_until(lambda: child.cpu_times().user > 0.3)  # within PDFium by now
        parent.kill()
    assert psutil.wait_procs([child], timeout=60)[1] == []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


LIAR = """
import json, os, socket, struct, sys
s = socket.socket(fileno=int(sys.argv[-1]))
def reply(header, payload=b"", size=None):
    s.sendall(struct.pack("!II", len(header), len(payload) if size is None else size) + header + payload)
def wait():
    return socket.recv_fds(s, 65536, 1)
def page(**changes):
    lengths = {name: changes.pop(name, 1) for name in ("jpeg_bytes", "thumbnail_bytes")}
    fields = dict(label=None, section=None, width_px=1, height_px=1, dpi=None,
        pixels_sha256="0" * 64, phash="0" * 16, blank=True, layer_text=None, original={"format": "PDF"}, exif={},
        facts=dict(ink_share=0.0, picture_share=None, colours=[], is_vector=True,
        layer="none", placeholder=False))
    fields.update(changes)
    return json.dumps({**lengths, "page": fields}).encode()
def crops(count=2, **changes):
    fields = dict(jpeg_bytes=1, box=[0, 0, 1, 0.6], width_px=1, height_px=1, pixels_sha256="0" * 64)
    fields.update(changes)
    return json.dumps({"crops": [fields] * count}).encode()
def honest_until_the_page():
    reply(b'{"peak_kib": 1}'); wait(); reply(b'{"pages": 1, "title": null, "members": 0}'); wait()
"""


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param("reply(page(), b'jt')", id="none, which proves the other cases"),
        pytest.param("reply(b'no json')", id="no json"),
        pytest.param("reply(b'[]')", id="no object"),
        pytest.param("reply(page(extra=1), b'jt')", id="a field too many"),
        pytest.param("reply(page(original={'format': 'PDF', 'extra': 1}), b'jt')", id="an unknown original"),
        pytest.param("reply(page(facts={}), b'jt')", id="no facts"),
        pytest.param("reply(page(width_px=-1), b'jt')", id="a negative width"),
        pytest.param("reply(page(width_px='1'), b'jt')", id="a width in words"),
        pytest.param("reply(page(dpi=float('nan')), b'jt')", id="a resolution that is no number"),
        pytest.param("reply(page(phash='../../etc/passwd'), b'jt')", id="a path as hash"),
        pytest.param("reply(page(jpeg_bytes=10**9), b'jt')", id="more bytes than were sent"),
        pytest.param("reply(page(jpeg_bytes=1), b'jt too many')", id="fewer bytes than were sent"),
        pytest.param("reply(page(layer_text='\\ud800'), b'jt')", id="a lone surrogate"),
        pytest.param("s.sendall(struct.pack('!II', 2**32 - 1, 0))", id="a header of 4 GB"),
        pytest.param("reply(page(), b'', 2**32 - 1)", id="4 GB of pixels"),
        pytest.param('reply(b\'{"error":"vanished","message":""}\')', id="an error that is not its own"),
        pytest.param('reply(b\'{"error":"corrupt","message":"\' + b\'x\' * 9999 + b\'"}\')', id="a novel"),
        pytest.param("s.close(); import time; time.sleep(600)", id="silence on a closed line"),
        pytest.param("os._exit(3)", id="an exit"),
    ],
)
def test_a_child_that_lies_costs_one_page(request: pytest.FixtureRequest, lie: str) -> None:
    command = (sys.executable, "-c", f"{LIAR}\nhonest_until_the_page()\n{lie}\nwait()")
    pool = SandboxPool(1, replace(LIMITS, page_seconds=20, wall_seconds=20), command=command)
    try:
        with opened(pool, three_pages(), MediaType.PDF) as document:
            if "none, which" in request.node.callspec.id:
                assert document.render(1).jpeg == b"j"
            else:
                with pytest.raises(RenderCrashed):
                    document.render(1)
                assert not sandboxes()
    finally:
        pool.close()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param("reply(crops(), b'jj')", id="none, which proves the other cases"),
        pytest.param("reply(crops(3), b'jjj')", id="more crops than were asked for"),
        pytest.param("reply(crops(0), b'')", id="no crops"),
        pytest.param("reply(crops(), b'j')", id="fewer bytes than were told"),
        pytest.param("reply(crops(jpeg_bytes=-1), b'jj')", id="bytes less than none"),
        pytest.param("reply(crops(box=[0, 0, 1, 2]), b'jj')", id="a crop beside the page"),
        pytest.param("reply(crops(box=[0.5, 0, 0.5, 1]), b'jj')", id="a crop without area"),
        pytest.param("reply(crops(box=[0, 0, 1, float('nan')]), b'jj')", id="a box that is no number"),
        pytest.param("reply(crops(pixels_sha256='../../etc/passwd'), b'jj')", id="a path as hash"),
        pytest.param("reply(page(), b'jt')", id="a page instead"),
        pytest.param("os._exit(3)", id="an exit"),
    ],
)
def test_a_child_that_lies_about_crops_costs_one_page(request: pytest.FixtureRequest, lie: str) -> None:
    command = (sys.executable, "-c", f"{LIAR}\nhonest_until_the_page()\n{lie}\nwait()")
    pool = SandboxPool(1, replace(LIMITS, page_seconds=20, wall_seconds=20), command=command)
    try:
        with opened(pool, three_pages(), MediaType.PDF) as document:
            if "none, which" in request.node.callspec.id:
                assert [crop.jpeg for crop in document.render_crops(1, 2)] == [b"j", b"j"]
            else:
                with pytest.raises(RenderCrashed):
                    document.render_crops(1, 2)
                assert not sandboxes()
    finally:
        pool.close()


def test_a_sandbox_that_does_not_start_is_nobodys_page() -> None:
    pool = SandboxPool(1, LIMITS, command=(sys.executable, "-c", "raise SystemExit(1)"))
    try:
        with pytest.raises(ServiceRefused, match="does not start") as refused:
            render(pool, three_pages(), MediaType.PDF)
        assert refused.value.remedy
        assert not sandboxes()
    finally:
        pool.close()


def test_every_failure_has_a_cause_a_code_and_a_remedy(impatient: SandboxPool) -> None:
    with pytest.raises(OutcomeError) as failed:
        render(impatient, shading_that_takes_minutes(), MediaType.PDF)
    assert (failed.value.code, bool(str(failed.value)), bool(failed.value.remedy)) == ("render_timeout", True, True)
