"""Arrivals: taken once at rest, together, by the rules of a walk. Real files, and a clock of the test's own."""

import os
from pathlib import Path

import pytest

from pipeline.core.models import FilePatterns
from pipeline.maintenance.folder_watch import HOLD_SECONDS, Arrivals
from pipeline.sources import PathFilter, source_path, source_url

SETTLE_SECONDS = 5.0


class Inbox:
    """A folder, what was heard of it, and a clock."""

    def __init__(self, root: Path, *exclude: str) -> None:
        self.folder = root / "in"
        self.folder.mkdir()
        (self.folder / "own").mkdir()
        self.now = 100.0
        chosen = PathFilter(FilePatterns(roots=(source_url(self.folder),), exclude=exclude))
        excluded = [source_url(self.folder / "own")]
        self.arrivals = Arrivals(self.folder, excluded, SETTLE_SECONDS, lambda: self.now, chosen)

    def write(self, name: str, data: bytes = b"x") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def arrive(self, name: str) -> Path:
        path = self.write(name)
        self.arrivals.note(path)
        return path

    def after(self, seconds: float) -> list[str]:
        """What is to be enqueued so much later; it is not taken."""
        self.now += seconds
        return [str(source_path(entry.url).relative_to(self.folder)) for entry in self.arrivals.burst()]


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def test_a_file_is_taken_once_it_has_been_at_rest(inbox: Inbox) -> None:
    inbox.arrive("a.pdf")

    assert inbox.after(SETTLE_SECONDS - 0.1) == []
    assert inbox.after(0.1) == ["a.pdf"]


def test_a_file_that_grows_is_not_at_rest_though_nobody_tells_of_it(inbox: Inbox) -> None:
    inbox.arrive("a.pdf")
    for size in range(2, 6):
        inbox.write("a.pdf", b"x" * size)
        assert inbox.after(SETTLE_SECONDS) == []

    assert inbox.after(SETTLE_SECONDS) == ["a.pdf"]


def test_a_burst_is_one_batch(inbox: Inbox) -> None:
    for number in range(4):
        inbox.arrive(f"{number}.pdf")
        assert inbox.after(SETTLE_SECONDS / 2) == []

    assert inbox.after(SETTLE_SECONDS) == ["0.pdf", "1.pdf", "2.pdf", "3.pdf"]


def test_a_stream_without_end_is_taken_in_pieces(inbox: Inbox) -> None:
    taken: list[str] = []
    number = 0
    while not taken:
        inbox.arrive(f"{number:03}.pdf")
        number += 1
        taken = inbox.after(1)
        assert number < 100

    assert taken[0] == "000.pdf"
    assert HOLD_SECONDS <= number <= HOLD_SECONDS + 2 * SETTLE_SECONDS


def test_what_is_not_taken_stays(inbox: Inbox) -> None:
    inbox.arrive("a.pdf")
    inbox.after(SETTLE_SECONDS)

    assert inbox.after(3600) == ["a.pdf"]
    inbox.arrivals.taken(inbox.arrivals.burst())
    assert inbox.after(3600) == []
    assert len(inbox.arrivals) == 0


def test_what_changes_before_it_is_taken_has_to_rest_again(inbox: Inbox) -> None:
    inbox.arrive("a.pdf")
    assert inbox.after(SETTLE_SECONDS) == ["a.pdf"]
    inbox.write("a.pdf", b"more")
    inbox.arrivals.note(inbox.folder / "a.pdf")

    assert inbox.after(1) == []
    assert inbox.after(SETTLE_SECONDS) == ["a.pdf"]


def test_a_temporary_name_that_does_not_last_is_never_taken(inbox: Inbox) -> None:
    part = inbox.arrive("a.pdf.part")
    part.rename(inbox.folder / "a.pdf")
    assert inbox.arrivals.forget(part)
    inbox.arrivals.note(inbox.folder / "a.pdf")

    assert inbox.after(SETTLE_SECONDS) == ["a.pdf"]


@pytest.mark.parametrize("name", [".hidden.pdf", "~letter.docx", "scan.partial"])
def test_no_name_that_stays_is_left_out(inbox: Inbox, name: str) -> None:
    inbox.arrive(name)

    assert inbox.after(SETTLE_SECONDS) == [name]


@pytest.mark.parametrize("name", ["._a.pdf", "~$letter.docx", "scan.part", ".git/a.pdf", "deep/@eaDir/a.pdf"])
def test_litter_is_passed_over_and_nobody_misses_it(inbox: Inbox, name: str) -> None:
    path = inbox.arrive(name)

    assert inbox.after(3600) == []
    path.unlink()
    assert inbox.arrivals.forget(path)


def test_what_vanishes_without_a_word_is_not_taken(inbox: Inbox) -> None:
    inbox.arrive("a.pdf").unlink()

    assert inbox.after(SETTLE_SECONDS) == []
    assert len(inbox.arrivals) == 0


def test_a_folder_stands_for_all_that_is_in_it(inbox: Inbox) -> None:
    inbox.write("new/deep/a.pdf")
    inbox.write("new/b.pdf")
    inbox.arrivals.note(inbox.folder / "new")

    assert inbox.after(SETTLE_SECONDS) == ["new/b.pdf", "new/deep/a.pdf"]


def test_what_came_into_a_new_folder_before_it_was_watched_is_found(inbox: Inbox) -> None:
    (inbox.folder / "new").mkdir()
    inbox.arrivals.note(inbox.folder / "new")
    inbox.write("new/deep/a.pdf")

    inbox.after(SETTLE_SECONDS)
    assert inbox.after(SETTLE_SECONDS) == ["new/deep/a.pdf"]


def test_the_archives_own_folder_does_not_count(inbox: Inbox) -> None:
    inbox.arrive("own/images/page.jpg")
    inbox.arrivals.note(inbox.folder / "own")

    assert inbox.after(3600) == []
    assert len(inbox.arrivals) == 0


def test_links_are_judged_as_a_walk_judges_them(inbox: Inbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.pdf").write_bytes(b"x")
    inbox.write("a.pdf")
    (inbox.folder / "inner.pdf").symlink_to("a.pdf")
    (inbox.folder / "outer.pdf").symlink_to(outside / "secret.pdf")
    (inbox.folder / "folder").symlink_to(outside)
    for name in ("inner.pdf", "outer.pdf", "folder", "folder/secret.pdf"):
        inbox.arrivals.note(inbox.folder / name)

    assert inbox.after(SETTLE_SECONDS) == ["folder", "inner.pdf", "outer.pdf"]
    errors = {source_path(entry.url).name: entry.error for entry in inbox.arrivals.burst()}
    assert errors["inner.pdf"] is None
    assert {name: error.type for name, error in errors.items() if error} == {
        "folder": "outside_link",
        "outer.pdf": "outside_link",
    }


def test_a_pipe_is_an_outcome_and_is_not_opened(inbox: Inbox) -> None:
    os.mkfifo(inbox.folder / "pipe")
    inbox.arrivals.note(inbox.folder / "pipe")

    assert inbox.after(SETTLE_SECONDS) == ["pipe"]


def test_what_patterns_leave_out_does_not_arrive_and_is_not_missed(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "drafts/", "*.txt")
    for name in ("drafts/a.pdf", "new/drafts/b.pdf", "new/c.txt", "new/d.pdf"):
        inbox.write(name)
    for path in (inbox.folder / "drafts/a.pdf", inbox.folder / "drafts", inbox.folder / "new"):
        inbox.arrivals.note(path)
    assert inbox.after(SETTLE_SECONDS) == []
    assert inbox.after(SETTLE_SECONDS) == ["new/d.pdf"]
    assert inbox.arrivals.forget(inbox.folder / "drafts/a.pdf")
    assert not inbox.arrivals.forget(inbox.folder / "other.pdf")
