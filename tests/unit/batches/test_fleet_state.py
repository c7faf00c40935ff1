"""Whether the workers may work, on a real archive in a folder."""

from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.batches.fleet_state import halt, halted, pause, resume
from pipeline.core.errors import ServiceRefused

FULL = ServiceRefused("archive", "no space left", remedy="Free space.")
BROKE = ServiceRefused("jina-vlm", "no balance", remedy="Top up.")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def test_the_first_cause_of_a_halt_stays(archive: Archive) -> None:
    first = halt(archive, FULL)
    assert (first.state, first.service, first.cause, first.remedy) == (
        "halted",
        "archive",
        "no space left",
        "Free space.",
    )
    assert halt(archive, BROKE) == first == archive.fleet.newest()


def test_what_a_person_resumes_is_a_new_revision_even_where_it_ran(archive: Archive) -> None:
    """A worker whose halt could not be archived knows by it that a person has come since."""
    assert [resume(archive).revision for _ in range(2)] == [1, 2]
    halt(archive, BROKE)
    resumed = resume(archive)
    assert (resumed.revision, resumed.state, resumed.cause) == (4, "running", None)


def test_to_pause_twice_is_to_pause_once(archive: Archive) -> None:
    assert pause(archive) == pause(archive)


def test_a_halt_of_one_process_tells_the_same_and_is_not_archived(archive: Archive) -> None:
    alone = halted(FULL)
    assert archive.fleet.newest() is None
    assert alone.model_dump(exclude={"since", "revision"}) == halt(archive, FULL).model_dump(
        exclude={"since", "revision"}
    )
