"""Litter is passed over and counted in folders and containers; documents with similar names are not."""

from pathlib import Path

import pytest

from pipeline.core.retry import CancelToken
from pipeline.sources import list_folder, named_root, source_url, walk
from pipeline.sources.litter import is_litter

LITTER = (
    ".DS_Store",
    "._scan.pdf",
    "Thumbs.db",
    "thumbs.DB",
    "Desktop.ini",
    "~$letter.docx",
    ".~lock.letter.odt#",
    "scan.pdf.part",
    "scan.pdf.crdownload",
    ".git/config.pdf",
    "deep/@eaDir/scan.pdf/SYNOPHOTO_THUMB_M.jpg",
    "#recycle/old.pdf",
    ".stfolder/marker",
    ".stfolder",
)
DOCUMENTS = (
    "DS_Store.pdf",
    "_scan.pdf",
    "Thumbs.db.pdf",
    "letter~$.docx",
    "lock.letter.odt",
    "part.pdf",
    "part",
    ".github/plan.pdf",
    "eaDir/scan.pdf",
    "recycle/old.pdf",
    "a.git/plan.pdf",
)


@pytest.mark.parametrize("path", LITTER)
def test_what_systems_and_programs_leave_is_litter(path: str) -> None:
    assert is_litter(path.split("/"))
    assert is_litter(("deep", *path.split("/")))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_with_a_similar_name_is_not(path: str) -> None:
    assert not is_litter(path.split("/"))


def test_a_walk_passes_over_litter_counts_it_and_takes_what_a_person_names(tmp_path: Path) -> None:
    files = [path for path in LITTER if path not in (".stfolder", "thumbs.DB")]
    for path in (*files, *DOCUMENTS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    counts: list[int] = []

    found = {one.url for one in walk([source_url(tmp_path)], (), CancelToken(), counts.append)}

    assert found == {source_url(tmp_path / path) for path in DOCUMENTS}
    assert sum(counts) == len(files)
    for named in (tmp_path / "._scan.pdf", tmp_path / "#recycle" / "old.pdf", tmp_path / "#recycle"):
        url = source_url(named)
        assert len(list_folder(url, named_root(url)).found) == 1
