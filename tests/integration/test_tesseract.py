"""Pages in scripts that RapidOCR does not know: Tesseract on real pages, and stand-ins that fail in one way each."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipeline.core.child_process import TimeLimit
from pipeline.core.errors import AnswerTimeout, AnswerUnusable
from pipeline.core.formats import MediaType
from pipeline.core.models import PageFacts, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.rendering.host.pool import SandboxPool
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.ocr.process import OcrProcess, open_rapidocr
from pipeline.vision.ocr.tesseract import COMMAND, Tesseract, find_tesseract
from support.corpus import CORPUS, manifest
from support.rendering import LIMITS
from support.vision import answer_cache

LIMIT = TimeLimit(120, 600)
SCRIPTS = {"Arabic", "Devanagari", "Hebrew", "Thai"}
#: How a stand-in for the program answers what the script is; what follows is for other questions.
TELLS_HEBREW = 'cat >/dev/null; case "$*" in *"--psm 0"*) echo "Script: Hebrew"; exit;; esac;'
SCAN = PageFacts(ink_share=0.1, picture_share=1.0, colours=("white",), is_vector=False)


@pytest.fixture(scope="module")
def installed() -> Tesseract:
    found = find_tesseract()
    if found is None or SCRIPTS - set(found.models):
        if os.environ.get("CI"):
            pytest.fail(f"Tesseract with models for {SCRIPTS} is missing: {found}")
        pytest.skip("Tesseract is not installed, or not with the models that are read here")
    return found


@pytest.fixture(scope="module")
def rapidocr() -> Iterator[OcrProcess]:
    process = open_rapidocr(LIMIT)
    yield process
    process.close()


@pytest.fixture(scope="module")
def reader(rapidocr: OcrProcess, installed: Tesseract) -> Iterator[LocalReader]:
    other_scripts = installed.open(LIMIT)
    yield LocalReader(answer_cache(), rapidocr, other_scripts)
    other_scripts.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def scanned(pool: SandboxPool, name: str) -> RenderedPage:
    """A file's first page, as if nothing but its pixels were known."""
    kind = MediaType.PDF if name.endswith(".pdf") else MediaType.TIFF
    with (CORPUS / name).open("rb") as file, pool.open(file, kind) as document:
        return dataclasses.replace(document.render(1, with_pixels=True), layer_text=None, facts=SCAN)


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("images/arabic.tif", "Arabic", "العربي"),
        ("pdf/ArabicCIDTrueType.pdf", "Arabic", "انواع الخطوط العربية"),
        ("pdf/issue11656.pdf", "Hebrew", "שלום עולם מה שלום כולם?"),
        ("pdf/shaping_hindi.pdf", "Devanagari", "के साधन"),
        ("pdf/thai_wraps_zerowidthspace.pdf", "Thai", "สุขภาพดี"),
    ],
)
def test_pages_are_read_by_the_model_of_their_script(
    installed: Tesseract, reader: LocalReader, pool: SandboxPool, name: str, script: str, words: str
) -> None:
    manifest()
    found = reader.read(scanned(pool, name), "en", CancelToken())
    assert words in (found.text or "")
    assert found.doubts == ()
    assert found.read_by == f"tesseract-{installed.version}-1-{installed.models[script]}"
    assert len(found.answers) == 2


def test_a_page_in_latin_is_not_for_it(reader: LocalReader, pool: SandboxPool) -> None:
    manifest()
    found = reader.read(scanned(pool, "images/phototest.tif"), "en", CancelToken())
    assert (found.text or "").startswith("This is a lot of 12 point text")
    assert found.read_by is not None
    assert found.read_by.startswith("rapidocr-")


def test_a_page_whose_script_has_no_model_here_says_so(
    rapidocr: OcrProcess, installed: Tesseract, pool: SandboxPool
) -> None:
    manifest()
    without = dataclasses.replace(installed, installed=tuple({*installed.installed} & {"osd", "heb", "Hebrew"}))
    page = scanned(pool, "pdf/right_to_left_01.pdf")
    with closing(without.open(LIMIT)) as other_scripts:
        found = LocalReader(answer_cache(), rapidocr, other_scripts).read(page, "en", CancelToken())
    assert found.doubts == ("text_unread",)
    assert found.read_by is not None
    assert found.read_by.startswith("rapidocr-")


def standing_in(tmp_path: Path, script: str, limit: TimeLimit = LIMIT) -> OcrProcess:
    program = tmp_path / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return OcrProcess("fake", (*COMMAND, "60", str(program), "osd", "heb"), limit)


def test_a_program_that_hangs_is_ended_with_the_page(tmp_path: Path) -> None:
    argument = unique_seconds()
    ocr = standing_in(tmp_path, f"exec sleep {argument}", limit=TimeLimit(60, 5))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(ocr.find_lines, bytes(12), 2, 2)
        program = wait_for_program(argument, lambda: not reading.done())
        with pytest.raises(AnswerTimeout, match="within 5 seconds by the clock"):
            reading.result()
    program.wait(timeout=60)


def test_the_cpu_time_of_the_program_is_the_pages(tmp_path: Path) -> None:
    ocr = standing_in(tmp_path, "while :; do :; done", TimeLimit(2, 120))
    with pytest.raises(AnswerTimeout, match="more than 2 seconds of CPU time") as caught:
        ocr.find_lines(bytes(12), 2, 2)
    assert "PAGESIGHT_OCR_SECONDS" in caught.value.remedy


def test_a_program_ends_when_the_run_is_killed(tmp_path: Path) -> None:
    argument = unique_seconds()
    standing_in(tmp_path, f"exec sleep {argument}")
    script = (
        "import sys\n"
        "from pipeline.vision.ocr.process import OcrProcess\n"
        "from pipeline.core.child_process import TimeLimit\n"
        "OcrProcess('fake', sys.argv[1:], TimeLimit(60, 60)).find_lines(bytes(12), 2, 2)"
    )
    command = [*COMMAND, "60", str(tmp_path / "tesseract"), "osd", "heb"]
    parent = subprocess.Popen([sys.executable, "-c", script, *command])
    program = wait_for_program(argument, lambda: parent.poll() is None)
    parent.kill()
    parent.wait()
    program.wait(timeout=60)


def unique_seconds() -> str:
    """A time for `sleep` by which its process is recognised: a confined program cannot leave its number in a file."""
    return f"600.{uuid.uuid4().int}"


def wait_for_program(argument: str, is_awaited: Callable[[], bool]) -> psutil.Process:
    """Return the process of `sleep` with this argument as soon as it runs."""
    while is_awaited():
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == ["sleep", argument]:
                return process
        time.sleep(0.05)
    pytest.fail("the program was never started")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", "ended by signal 11"),
        (f"{TELLS_HEBREW} exit 1", "cannot read the page"),
        (f"{TELLS_HEBREW} printf '5\\t1\\t1\\t1\\t1\\t1\\tleft\\t1\\t1\\t1\\t9\\tword'", "ValueError"),
    ],
    ids=["crashes", "gives up", "babbles"],
)
def test_a_program_that_fails_costs_its_page(tmp_path: Path, script: str, message: str) -> None:
    ocr = standing_in(tmp_path, script)
    with pytest.raises(AnswerUnusable, match=message):
        ocr.find_lines(bytes(12), 2, 2)
    ocr.close()


def test_a_program_that_knows_nothing_of_the_page_finds_no_lines(tmp_path: Path) -> None:
    ocr = standing_in(tmp_path, "cat >/dev/null; echo 'Script: Latin'")
    assert ocr.find_lines(bytes(12), 2, 2).lines == ()
    ocr.close()
