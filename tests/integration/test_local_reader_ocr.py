"""The OCR process: the real one on real pages, and stand-ins that fail in one way each."""

import collections
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pypdfium2
import pytest
from PIL import Image

from pipeline.core.child_process import TimeLimit
from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceRefused, SettingsError
from pipeline.vision.ocr.process import OcrProcess, open_rapidocr, require_packages
from pipeline.vision.ocr.text_lines import FoundLines, arrange

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
MODEL_PIXELS = 1_003_520

#: Receives a request as the real child does; the socket is `s`.
RECEIVE = """
import json, os, signal, socket, struct, sys, time
s = socket.socket(fileno=int(sys.argv[-1]))
def receive():
    s.recv(sum(struct.unpack("!II", s.recv(8, socket.MSG_WAITALL))), socket.MSG_WAITALL)
def reply(value):
    body = json.dumps(value).encode()
    s.sendall(struct.pack("!II", len(body), 0) + body)
"""
GOOD = "\nwhile True:\n    receive()\n    reply({'lines': []})"
HANGS = "receive(); time.sleep(600)"
CRASHES = "receive(); os.kill(os.getpid(), signal.SIGSEGV)"
NEVER_STARTS = "sys.exit(3)"
BABBLES = "receive(); s.sendall(struct.pack('!II', 4, 0) + b'oops')"
FLOODS = "receive(); s.sendall(struct.pack('!II', 1 << 31, 0))"
LACKS_MODELS = "receive(); reply({'unusable': 'FileNotFoundError: PP-OCRv6_rec_small.onnx'})"
FAILS = "receive(); reply({'error': 'MemoryError: '})"
SHOWS_ENVIRONMENT = "receive(); reply({'error': ' '.join(os.environ)})"


@pytest.fixture(scope="module")
def ocr() -> Iterator[OcrProcess]:
    process = open_rapidocr(TimeLimit(120, 600))
    yield process
    process.close()


def standing_in(fault: str, wall_seconds: float = 30) -> OcrProcess:
    return OcrProcess("fake-1", (sys.executable, "-c", RECEIVE + fault), TimeLimit(30, wall_seconds))


def once(fault: str, marker: Path) -> str:
    """A child that fails when it is started first, and then no more."""
    guard = f"\nif not os.path.exists({str(marker)!r}):\n    open({str(marker)!r}, 'w').close()\n    {fault}"
    return guard + GOOD


def first_page(path: Path) -> Image.Image:
    """A file's first page as the renderer makes it."""
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            page = document[0]
            return page.render(scale=(MODEL_PIXELS / (page.get_width() * page.get_height())) ** 0.5).to_pil()
    with Image.open(path) as picture:
        scale = min(1.0, (MODEL_PIXELS / (picture.width * picture.height)) ** 0.5)
        size = (round(picture.width * scale), round(picture.height * scale))
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def read(ocr: OcrProcess, picture: Image.Image) -> str:
    rgb = picture.convert("RGB")
    return arrange(ocr.find_lines(rgb.tobytes(), *rgb.size).lines).text


def word_recall(truth: str, text: str) -> float:
    wanted, found = (collections.Counter(re.findall(r"[^\W_]+", part.lower())) for part in (truth, text))
    return (wanted & found).total() / wanted.total()


def test_the_scanned_letter_is_read(ocr: OcrProcess) -> None:
    text = read(ocr, first_page(ROOT / "samples" / "scanned-letter.pdf"))
    assert text.startswith("The Lock Keeper\nOld Lock House\nCanal Row")
    assert "I ask you to send a carpenter and a blacksmith before the end of the month." in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("file", "truth", "recall"),
    [
        ("images/phototest.tif", "phototest.txt", 0.98),
        ("images/eurotext.tif", "eurotext.txt", 0.98),
        ("pdf/rotated_skew.pdf", "linn.txt", 0.93),
        ("images/phototest-rotated-180.png", "phototest.txt", 0.98),
        ("pdf/ocr_test_rotated_90.pdf", "ocr_test.tesseract.full_page.md", 0.98),
        ("images/chi_sim_image.jpeg", "chi_sim_image.jpeg.txt", 0.7),
    ],
)
def test_scans_are_read_at_the_size_of_page_images(ocr: OcrProcess, file: str, truth: str, recall: float) -> None:
    if not CORPUS.exists():
        if "CI" in os.environ:
            pytest.fail("the corpus is missing")
        pytest.skip("the corpus is not here")
    wanted = (CORPUS / "truth" / truth).read_text(encoding="utf-8")
    assert word_recall(wanted, read(ocr, first_page(CORPUS / file))) >= recall


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (1, 1000), (16_000, 60), (60, 16_000), (1002, 1001)])
def test_a_picture_of_any_shape_can_be_looked_at(ocr: OcrProcess, size: tuple[int, int]) -> None:
    assert read(ocr, Image.new("RGB", size, "white")) == ""


def test_threads_take_turns(ocr: OcrProcess) -> None:
    letter = first_page(ROOT / "samples" / "scanned-letter.pdf")
    crops = [letter.crop((0, top, letter.width, top + 200)) for top in (100, 240, 380)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda crop: read(ocr, crop), crops))
    assert together == [read(ocr, crop) for crop in crops]
    assert len(set(together)) == 3


def test_a_page_that_hangs_fails_by_itself_and_the_next_is_read(tmp_path: Path) -> None:
    ocr = standing_in(once(HANGS, tmp_path / "hung"), wall_seconds=2)
    with pytest.raises(AnswerTimeout, match="within 2 seconds by the clock"):
        ocr.find_lines(bytes(12), 2, 2)
    assert ocr.find_lines(bytes(12), 2, 2) == FoundLines("fake-1", ())
    ocr.close()


def test_a_page_that_crashes_fails_by_itself_and_the_next_is_read(tmp_path: Path) -> None:
    ocr = standing_in(once(CRASHES, tmp_path / "crashed"))
    with pytest.raises(AnswerUnusable, match="exit status -11"):
        ocr.find_lines(bytes(12), 2, 2)
    assert ocr.find_lines(bytes(12), 2, 2) == FoundLines("fake-1", ())
    ocr.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (NEVER_STARTS, "exit status 3"),
        (BABBLES, "cannot be parsed"),
        (FLOODS, "cannot be parsed"),
        (FAILS, "MemoryError"),
    ],
)
def test_a_child_that_misbehaves_costs_its_page(fault: str, message: str) -> None:
    ocr = standing_in(fault)
    with pytest.raises(AnswerUnusable, match=message):
        ocr.find_lines(bytes(12), 2, 2)
    ocr.close()


def test_a_child_that_does_not_take_its_pixels_is_not_waited_for() -> None:
    ocr = standing_in("time.sleep(600)", wall_seconds=1)
    with pytest.raises(AnswerTimeout):
        ocr.find_lines(bytes(3_000_000), 1000, 1000)
    ocr.close()


def test_a_broken_installation_stops_the_run_with_the_remedy() -> None:
    ocr = standing_in(LACKS_MODELS)
    with pytest.raises(ServiceRefused, match=r"rec_small\.onnx") as caught:
        ocr.find_lines(bytes(12), 2, 2)
    assert "pagesight[local]" in caught.value.remedy
    ocr.close()


def test_missing_packages_are_named_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match="no_such_package") as caught:
        require_packages(("json", "no_such_package"))
    assert "pip install 'pagesight[local]'" in caught.value.remedy


def test_no_secret_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "secret")
    monkeypatch.setenv("PAGESIGHT_ELASTICSEARCH_API_KEY", "secret")
    ocr = standing_in(SHOWS_ENVIRONMENT)
    with pytest.raises(AnswerUnusable) as caught:
        ocr.find_lines(bytes(12), 2, 2)
    ocr.close()
    assert "LC_ALL" in str(caught.value)
    assert "KEY" not in str(caught.value)


def test_closing_ends_the_child() -> None:
    ocr = standing_in(GOOD)
    before = set(psutil.Process().children())
    ocr.find_lines(bytes(12), 2, 2)
    (child,) = set(psutil.Process().children()) - before
    ocr.close()
    assert not child.is_running()


def test_the_child_ends_when_its_parent_is_killed() -> None:
    script = (
        "from pipeline.core.child_process import TimeLimit\n"
        "from pipeline.vision.ocr.process import open_rapidocr\n"
        "ocr = open_rapidocr(TimeLimit(120, 600))\n"
        "while True: ocr.find_lines(bytes(3 * 900 * 1100), 900, 1100); print('read', flush=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as said:
        assert said.readline() == b"read\n"
        children = psutil.Process(parent.pid).children()
        parent.kill()
        parent.wait()
    assert len(children) == 1
    assert psutil.wait_procs(children, timeout=60)[1] == []
