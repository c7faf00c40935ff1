"""The samples: small, made by their script, and failing where they are meant to fail."""

import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[3] / "samples"
MAKER = Path(__file__).parents[2] / "samples_maker" / "make_samples.py"
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")


def made() -> list[Path]:
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in {".pdf", ".tif", ".jpg"})


def test_they_are_small_and_listed() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir() if path.is_file()) < 2_000_000
    table = (SAMPLES.parent / "docs" / "samples.md").read_text(encoding="utf-8")
    assert all(f"| `{path.name}` |" in table for path in made())


@pytest.mark.slow
@pytest.mark.skipif(not DEJAVU.exists(), reason="the DejaVu fonts are not installed")
def test_the_script_makes_the_same_files_each_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        subprocess.run(
            [sys.executable, "-B", str(MAKER), str(tmp_path / folder)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / run).iterdir()} for run in ("first", "second")
    )
    assert first == second
    assert sorted(first) == [path.name for path in made()]


def test_the_report_has_labels_and_a_title() -> None:
    with pypdfium2.PdfDocument(SAMPLES / "annual-report.pdf") as report:
        assert [report.get_page_label(index) for index in range(len(report))] == ["i", "ii", "1", "2", "3"]
        assert report.get_metadata_value("Title") == "Annual report of the harbour"


def test_the_photograph_lies_on_its_side_and_says_so() -> None:
    with Image.open(SAMPLES / "harbour.jpg") as photograph:
        assert photograph.size == (800, 1200)
        exif = photograph.getexif()
        assert (exif[0x0112], exif[0x0110]) == (6, "Lantern Pocket 2")
        assert exif.get_ifd(0x8769)[0x9003] == "2024:09:14 19:42:07"
        assert exif.get_ifd(0x8825)[1] == "N"


def test_the_scans_are_pictures_only() -> None:
    with pypdfium2.PdfDocument(SAMPLES / "scanned-letter.pdf") as letter:
        assert letter[0].get_textpage().get_text_bounded() == ""
    with Image.open(SAMPLES / "ledger-scans.tif") as ledger:
        assert (ledger.n_frames, ledger.mode, ledger.info["compression"]) == (3, "1", "group4")


@pytest.mark.parametrize("name", ["encrypted.pdf", "truncated.pdf"])
def test_two_cannot_be_opened(name: str) -> None:
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(SAMPLES / name)
