"""`pagesight inspect`: it tells what `pagesight index` then does, and does nothing itself."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from pipeline.rendering.conversion import office
from support.conversions import require_programs
from support.inspections import assert_agrees
from support.object_store import KEYS, Bucket, ObjectStore
from support.office_files import Slide, pptx
from support.pagesight_runs import MakePagesight, Pagesight, make_pdf, make_picture
from support.standin import Standin

SAMPLES = Path(__file__).parents[2] / "samples"
NOWHERE = "http://127.0.0.1:1"
PROSE = "The harbour master counts the ships that lie at the quay in winter, and writes them down."


def make_paper(path: Path, picture: Path, title: str) -> Path:
    """A page of words, one that is half a picture, one that is all picture, and one with nothing on it."""
    paper = canvas.Canvas(str(path), pagesize=(300, 400), invariant=1)
    paper.setTitle(title)
    image = ImageReader(str(picture))
    for place in (None, (50, 50, 200, 150), (0, 0, 300, 400)):
        if place is None or place[0]:
            for line in range(6):
                paper.drawString(20, 380 - 20 * line, PROSE[12 * line : 12 * line + 50])
        if place is not None:
            paper.drawImage(image, *place)
        paper.showPage()
    paper.showPage()
    paper.save()
    return path


def make_half_broken(path: Path, whole: Path) -> Path:
    """A TIFF whose second frame cannot be decoded."""
    with Image.open(make_picture(whole, 7, frames=2)) as picture:
        frames = []
        for number in range(2):
            picture.seek(number)
            frames.append(picture.copy())
        frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_lzw")
    with Image.open(path) as picture:
        picture.seek(1)
        (start, *_), (length, *_) = picture.tag_v2[273], picture.tag_v2[279]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * length)
    return path


def write_everything(files: Path, aside: Path) -> None:
    """Every kind of page, and many ways to fail."""
    photograph = make_picture(aside / "photograph.jpg", 1)
    make_paper(files / "paper.pdf", photograph, "=1+1")
    shutil.copy(files / "paper.pdf", files / "same paper.pdf")
    make_pdf(files / "deep.pdf", 3, seed=5)
    make_picture(files / "frames.tif", 2, frames=3)
    make_half_broken(files / "half broken.tif", aside / "whole.tif")
    Image.new("RGB", (300, 200), "white").save(files / "white.png")
    (files / "empty.pdf").touch()
    (files / "prose.pdf").write_text("a name is not a format")
    (files / "half.pdf").write_bytes((SAMPLES / "truncated.pdf").read_bytes())
    (files / "locked.pdf").write_bytes((SAMPLES / "encrypted.pdf").read_bytes())
    (files / "outside.pdf").symlink_to(photograph)
    with zipfile.ZipFile(files / "post.zip", "w") as archive:
        archive.write(make_pdf(aside / "letter.pdf", 2, seed=6), "post/letter.pdf")
        archive.write(files / "deep.pdf", "post/deep.pdf")
        archive.writestr("post/note.pdf", b"a name is not a format")


def by_name(inspected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"].rsplit("/", 1)[-1]: file for file in inspected["files"]}


def test_what_is_told_is_what_indexing_does(
    pagesight: Pagesight, standin: Standin, tmp_path: Path, bucket: Bucket, object_store: ObjectStore
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    write_everything(pagesight.files, aside)
    pagesight.set(vlm_again_tokens=0)  # the stand-in does not read what it is shown, and what is told is first askings
    bucket.put("scans/far.pdf", make_pdf(aside / "far.pdf", 2, seed=9).read_bytes())
    bucket.put("scans/none.pdf", b"nothing that is known")
    words = (pagesight.files, f"{bucket.url}/scans/")
    aws = KEYS | {"AWS_ENDPOINT_URL": object_store.url, "AWS_CONFIG_FILE": os.devnull}

    told = pagesight.start_with(aws, "inspect", "--json", *words).ended()

    assert told.code == 0, told.stderr
    assert standin.requests() == []
    assert not pagesight.archive_folder.exists()
    inspected = told.json
    files = by_name(inspected)
    paper = files["paper.pdf"]
    assert paper["page_kinds"] == {"born_digital": 1, "scanned": 1, "mixed": 1, "blank": 1}
    assert (paper["pages"], paper["calls"], paper["language"], paper["encryption"]) == (4, 6, "en", "none")
    repeated = [file["path"] for file in inspected["files"] if file["status"] == "repeated"]
    assert [path.removeprefix(f"{pagesight.files}/") for path in repeated] == [
        "post.zip/post/deep.pdf",
        "same paper.pdf",
    ]
    assert files["locked.pdf"]["encryption"] == "locked"
    assert files["half broken.tif"]["status"] == "partial"
    assert files["post.zip"]["members"] == 3

    indexed = pagesight.start_with(aws, "index", "--json", *words).ended()

    assert indexed.code == 1, indexed.stderr
    assert_agrees(inspected, indexed.json, pagesight.run("failures", "--json").json["failures"])
    assert inspected["totals"]["calls"] == indexed.json["model_calls"] == len(standin.requests())
    pagesight.assert_nothing_left()


def test_the_table_says_what_is_the_matter_and_nothing_steers_the_terminal(
    make_pagesight: MakePagesight, tmp_path: Path
) -> None:
    pagesight = make_pagesight(NOWHERE, passwords="lighthouse")
    make_paper(pagesight.files / "paper.pdf", make_picture(tmp_path / "p.png", 1), "A paper")
    shutil.copy(pagesight.files / "paper.pdf", pagesight.files / "same paper.pdf")
    (pagesight.files / "opened.pdf").write_bytes((SAMPLES / "encrypted.pdf").read_bytes())
    (pagesight.files / "escape-\x1b[31m\x1b]0;title\x07.pdf").touch()

    ended = pagesight.run("inspect", pagesight.files)

    assert ended.code == 0
    lines = ended.stdout.splitlines()
    assert lines[0].split() == "kind pages digital scan mixed blank lang calls file".split()
    (paper,) = [line for line in lines if line.endswith("  paper.pdf")]
    assert paper.split() == ["pdf", "4", "1", "1", "1", "1", "en", "paper.pdf"]
    assert "    identical to a file above" in lines
    assert "    opened with a password" in lines
    assert "    empty  the file is empty" in lines
    assert "documents    2 complete, 1 failed" in [line.rstrip() for line in lines]
    assert "lighthouse" not in ended.stdout + ended.stderr
    assert not any(steering in ended.stdout + ended.stderr for steering in "\x1b\x07")


def test_hidden_slides_are_counted_and_nothing_is_archived(make_pagesight: MakePagesight) -> None:
    require_programs(office.find_office)
    pagesight = make_pagesight(NOWHERE)
    deck = pptx(Slide(PROSE), Slide("not to be shown", hidden=True))
    (pagesight.files / "deck.pptx").write_bytes(deck)

    ended = pagesight.run("inspect", "--json", pagesight.files)

    assert ended.code == 0, ended.stdout
    (file,) = ended.json["files"]
    assert (file["pages"], file["hidden"], file["page_kinds"]["born_digital"], file["language"]) == (2, 1, 2, "en")
    assert not pagesight.archive_folder.exists()
    pagesight.assert_nothing_left()


def test_csv_has_a_row_for_each_file_and_no_formulas(make_pagesight: MakePagesight, tmp_path: Path) -> None:
    pagesight = make_pagesight(NOWHERE)
    make_paper(pagesight.files / "paper.pdf", make_picture(tmp_path / "p.png", 1), "=1+1")
    make_half_broken(pagesight.files / "half broken.tif", tmp_path / "whole.tif")

    ended = pagesight.run("inspect", "--csv", pagesight.files)

    assert ended.code == 0
    broken, paper = csv.DictReader(io.StringIO(ended.stdout))
    assert paper["title"] == "'=1+1"
    assert (paper["status"], paper["mixed"], paper["calls"], paper["error"]) == ("complete", "1", "0", "")
    assert (broken["status"], broken["pages"], broken["failed_pages"], broken["error"]) == (
        "partial",
        "2",
        "1",
        "corrupt 2",
    )


def test_all_fine_is_exit_code_0_and_a_path_to_nowhere_2(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight(NOWHERE)
    make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    assert pagesight.run("inspect", pagesight.files).code == 0
    assert pagesight.run("inspect", pagesight.files / "no such file").code == 2
    assert pagesight.run("inspect", "--json", "--csv", pagesight.files).code == 2


def test_an_interrupt_ends_it_cleanly_with_what_was_seen(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight(NOWHERE)
    for seed in range(3):
        make_pdf(pagesight.files / f"book {seed}.pdf", 2_000, seed)
    run = pagesight.start("inspect", "--json", pagesight.files)
    run.until(lambda: bool(run.sandboxes()))
    run.interrupt()
    ended = run.ended()
    assert ended.code == 130
    assert ended.json["files"] == []
    assert not ended.json["totals"]["complete"]
    pagesight.assert_nothing_left()
