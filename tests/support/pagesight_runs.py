"""Runs the real `pagesight` as a person would, and looks at what it leaves behind."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from elasticsearch import Elasticsearch
from PIL import Image, ImageDraw
from reportlab.pdfgen import canvas

from pipeline.archive import Archive, Store
from pipeline.core.models import Reading, Tombstone
from pipeline.projection.records import document_record_id, page_id, source_record_id
from pipeline.search import DOCUMENTS, PAGES, SOURCES
from pipeline.search.index import Index
from support import in_process
from support.ended import Ended
from support.guardian import mark
from support.standin import Standin

PROGRAM = Path(sys.executable).with_name("pagesight")
#: Nothing that the tests run takes so long; a run that does hangs.
RUN_SECONDS = 150.0
POLL_SECONDS = 0.05
WORDS = "harbour ledger winter timber rope lantern granite copper orchard signal paper window bridge".split()


class Run:
    """A command at work, in a process group of its own, with its output in files."""

    def __init__(self, command: list[str | Path], env: dict[str, str], cwd: Path, outputs: Path) -> None:
        self._out, self._err = outputs / "stdout", outputs / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        self._family: dict[int, psutil.Process] = {}

    @property
    def stdout(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def going_on(self) -> bool:
        return self.process.poll() is None

    def family(self) -> set[psutil.Process]:
        """Every process below it that was ever seen."""
        for pid in descendants(self.process.pid) - self._family.keys():
            with suppress(psutil.NoSuchProcess):
                self._family[pid] = psutil.Process(pid)
        return set(self._family.values())

    def sandboxes(self) -> list[psutil.Process]:
        """The sandbox processes that live now."""
        return [child for child in self.family() if child.is_running() and _is_sandbox(child)]

    def until(self, condition: Callable[[], bool], seconds: float = RUN_SECONDS) -> None:
        """Wait for something to become true while the run goes on."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.going_on, f"the run ended too early, with {self.process.returncode}: {self.stderr}"
            assert time.monotonic() < deadline, f"it did not come so far: {self.stderr}"
            self.family()
            time.sleep(POLL_SECONDS / 2)

    def kill(self) -> None:
        """`kill -9` of the main process alone: what it started has to notice by itself."""
        self.process.send_signal(signal.SIGSTOP)
        self.family()
        self.process.kill()
        self.process.wait(60)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C, or another signal, as a terminal sends it: to the whole group."""
        os.killpg(self.process.pid, number)

    def ended(self, seconds: float = RUN_SECONDS) -> Ended:
        """Wait for the end."""
        deadline = time.monotonic() + seconds
        while self.going_on:
            if time.monotonic() > deadline:
                self.end()
                pytest.fail(f"`pagesight` did not end within {seconds:g} s; it said: {self.stderr}")
            self.family()
            time.sleep(POLL_SECONDS)
        return Ended(self.process.returncode, self.stdout, self.stderr)

    def end(self) -> None:
        """Whatever still lives is killed. For tests that fail."""
        for process in [self.process, *self.family()]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(60)

    def left_over(self) -> list[str]:
        """Processes that outlived the run by more than the time that a child needs to notice."""
        return still_alive(set(self._family.values()))


def descendants(pid: int) -> set[int]:
    """Ids of all processes below one, as the kernel lists them. psutil would read every process of the machine."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        with suppress(OSError):  # a process that has ended has no children
            for task in (Path("/proc") / str(waiting.pop()) / "task").iterdir():
                with suppress(OSError):
                    children = {int(child) for child in (task / "children").read_text().split()} - found
                    found |= children
                    waiting += children
    return found


def still_alive(processes: set[psutil.Process]) -> list[str]:
    """Those of some processes that do not end within the time that a child needs to notice."""
    # Of a process that ended long ago the kernel may have given the number to a thread, for which nobody can wait.
    _, alive = psutil.wait_procs([child for child in processes if child.is_running()], timeout=60)
    return [f"{child.pid} {child.name()}" for child in alive]


class Pagesight:
    """`pagesight` with a home, an archive and an environment of its own.

    Args:
        settings: further settings, by their name in the settings model.
    """

    #: Whether commands that are run to their end may run in the process of the tests.
    in_process = True

    def __init__(self, home: Path, elasticsearch_url: str, standin: Standin | None = None, **settings: object) -> None:
        self.home = home
        self.temporary = home / "temporary"
        self.temporary.mkdir(parents=True)
        self.files = home / "files"
        self.files.mkdir()
        self.url = elasticsearch_url
        self.standin = standin
        given = {
            "home": home / "state",
            "elasticsearch_url": elasticsearch_url,
            "embed_url": "none",
            "vlm_concurrency": 8,
            "vlm_requests_per_minute": 0,
            "vlm_tokens_per_minute": 0,
        }
        if standin is not None:
            given |= {"vlm_url": standin.url, "vlm_api_key": standin.key}
        self._settings: dict[str, object] = given | settings
        self._runs: list[Run] = []
        self._children: set[psutil.Process] = set()

    @property
    def archive_folder(self) -> Path:
        return self.home / "state" / "archive"

    @property
    def archive(self) -> Archive:
        return Archive(Store(str(self.archive_folder)))

    def set(self, **settings: object) -> None:
        """Change settings from now on; None takes one away."""
        self._settings |= settings

    @property
    def environment(self) -> dict[str, str]:
        """All that a run gets: nothing of the environment of the tests leaks in but the guardian's mark."""
        given = {f"PAGESIGHT_{name.upper()}": str(value) for name, value in self._settings.items() if value is not None}
        return (
            {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C.UTF-8", "TMPDIR": str(self.temporary)}
            | given
            | mark()
        )

    def start(self, *words: str | Path) -> Run:
        return self.start_with({}, *words)

    def start_with(self, environment: dict[str, str], *words: str | Path) -> Run:
        """The same with further variables, for what no setting can do."""
        outputs = self.home / f"run-{len(self._runs) + 1}"
        outputs.mkdir()
        self._runs.append(Run(self.command(*words), self.environment | environment, self.home, outputs))
        return self._runs[-1]

    def command(self, *words: str | Path) -> list[str | Path]:
        return [PROGRAM, *words]

    def run(self, *words: str | Path) -> Ended:
        """Run a command to its end: in the process of the tests, unless it or this home needs one of its own."""
        given = [str(word) for word in words]
        if not self.in_process or not in_process.can_run(given):
            return self.start(*words).ended()
        with self._watching_children():
            return in_process.run(given, self.environment, self.home)

    def index(self, *words: str | Path) -> Ended:
        """`pagesight index --json` of this home's files."""
        return self.run(*self._index(words))

    def start_index(self, *words: str | Path) -> Run:
        return self.start(*self._index(words))

    def _index(self, words: tuple[str | Path, ...]) -> list[str | Path]:
        return ["index", "--json", *(words or (self.files,))]

    @contextmanager
    def _watching_children(self) -> Iterator[None]:
        """Note the processes that a command leaves alive which runs in the process of the tests."""
        this = psutil.Process()
        before = set(this.children(recursive=True))
        yield
        self._children |= set(this.children(recursive=True)) - before

    @contextmanager
    def client(self) -> Iterator[Elasticsearch]:
        with Elasticsearch(self.url) as client:
            yield client

    def records(self, alias: str = PAGES, collection: str = "default") -> dict[str, dict[str, Any]]:
        """Every record of a collection by its id, with `_version` among its fields."""
        with self.client() as client:
            if not client.indices.exists_alias(name=alias):
                return {}
            client.indices.refresh(index=alias)
            answer = client.search(index=alias, query={"term": {"collection": collection}}, version=True, size=10_000)
        return {hit["_id"]: hit["_source"] | {"_version": hit["_version"]} for hit in answer["hits"]["hits"]}

    def page_records(self, name: str, collection: str = "default") -> list[dict[str, Any]]:
        """The records of the document that lies at a path which ends so, by page."""
        found = [
            record
            for record in self.records(PAGES, collection).values()
            if any(path.endswith(f"/{name}") for path in record["document"].get("path", ()))
        ]
        return sorted(found, key=lambda record: int(record["page"]["number"]))

    def failures(self, collection: str = "default") -> dict[str, dict[str, Any]]:
        """What `pagesight failures` lists, by the last part of its path and, for pages, the page's number."""
        ended = self.run("failures", "--json", "--collection", collection)
        assert ended.code == 0, ended.stderr
        return {_failure_name(failure): failure for failure in ended.json["failures"]}

    def newest(self, collection: str = "default") -> list[Reading | Tombstone]:
        """The newest archived reading of every page of a collection."""
        archive = self.archive
        return [
            reading for name in archive.documents(collection) for reading in archive.readings(collection, name).newest()
        ]

    def archived_answers(self) -> set[str]:
        """Keys of the answers in the archive now."""
        return {f"{path.parent.name}-{path.stem}" for path in self.archive_folder.glob("answers/*/*/*.json")}

    def assert_archive_and_index_agree(self, collection: str = "default", *, complete: bool = True) -> None:
        """Every archived page has one record, of its newest revision, and nothing else has one.

        Args:
            complete: whether every page of every document must have been read.
        """
        _assert_pages_agree(self, collection)
        _assert_documents_agree(self, collection, complete)
        _assert_sources_agree(self, collection)

    def assert_nothing_left(self, *, killed: bool = False) -> None:
        """No process, no temporary file; a writer that was killed may leave its last one in the archive."""
        for run in self._runs:
            assert not run.going_on
            assert run.left_over() == []
        assert still_alive(self._children) == []
        assert list(self.temporary.iterdir()) == []
        leftovers = list((self.archive_folder / "tmp").glob("*"))
        assert killed or leftovers == []

    def close(self) -> None:
        for run in self._runs:
            run.end()


def _assert_pages_agree(pagesight: Pagesight, collection: str) -> None:
    wanted = {
        page_id(collection, reading.document.id, reading.page_number): reading
        for reading in pagesight.newest(collection)
        if isinstance(reading, Reading)
    }
    found = pagesight.records(PAGES, collection)
    revisions = {key: reading.revision for key, reading in wanted.items()}
    assert {key: record["_version"] for key, record in found.items()} == revisions
    assert {key: record["revision"] for key, record in found.items()} == revisions
    for key, record in found.items():
        assert record["status"] == wanted[key].status
        assert record["fingerprint"] == wanted[key].fingerprint
        assert record["document"].get("path", []) == list(wanted[key].document.path)


def _assert_documents_agree(pagesight: Pagesight, collection: str, complete: bool) -> None:
    archive, versions = pagesight.archive, {}
    found = pagesight.records(DOCUMENTS, collection)
    for document in archive.documents(collection):
        readings = list(archive.readings(collection, document).newest())
        live = [reading for reading in readings if isinstance(reading, Reading)]
        if not live:
            continue
        key = document_record_id(collection, document)
        versions[key] = sum(reading.revision for reading in readings)
        numbers, pages = [reading.page_number for reading in live], live[0].document.pages
        assert len(set(numbers)) == len(numbers)
        assert not complete or numbers == list(range(1, pages + 1))
        counted = {status: count for status, count in found[key]["pages"].items() if count}
        assert counted == {**Counter(reading.status.value for reading in live), "total": pages}
        assert tuple(found[key]["document"].get("path", ())) in {reading.document.path for reading in live}
    assert {key: record["_version"] for key, record in found.items()} == versions


def _assert_sources_agree(pagesight: Pagesight, collection: str) -> None:
    archive = pagesight.archive
    sources = [archive.sources(collection)[identifier].newest() for identifier in archive.sources(collection).names()]
    known = [source for source in sources if source is not None and (source.document or source.error)]
    found = pagesight.records(SOURCES, collection)
    assert {key: record["_version"] for key, record in found.items()} == {
        source_record_id(source): source.revision for source in known
    }


def _failure_name(failure: dict[str, Any]) -> str:
    name = failure["path"].rsplit("/", 1)[-1]
    return f"{name}:{failure['page_number']}" if failure["page_number"] else name


def _is_sandbox(process: psutil.Process) -> bool:
    try:
        return any("pipeline.rendering.sandbox.child" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def make_pdf(path: Path, pages: int, seed: int) -> Path:
    """A PDF in which every page has a text of its own; the same arguments give the same bytes.

    Each has too few words to be held against what the stand-in says, which does not read it.
    """
    chance = random.Random(seed)
    paper = canvas.Canvas(str(path), pagesize=(300, 400), invariant=1)
    for number in range(1, pages + 1):
        paper.setFont("Helvetica", 18)
        paper.drawString(30, 340, f"Volume {seed}, sheet {number}")
        paper.drawString(30, 300, " ".join(chance.sample(WORDS, 3)))
        paper.showPage()
    paper.save()
    return path


def make_picture(path: Path, seed: int, frames: int = 1) -> Path:
    """An image in the format of its suffix, of one frame or, as a TIFF, of several."""
    chance = random.Random(seed)
    pictures = []
    for number in range(frames):
        picture = Image.new("RGB", (400, 300), "white")
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            x, y = chance.randrange(350), chance.randrange(250)
            draw.rectangle((x, y, x + 40, y + 30), tuple(chance.randrange(200) for _ in range(3)))
        draw.text((10, 10), f"plate {seed}.{number}", "black")
        pictures.append(picture)
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(path, **more)
    return path


MakePagesight = Callable[..., Pagesight]


@pytest.fixture
def make_pagesight(tmp_path: Path) -> Iterator[MakePagesight]:
    """Makes homes of `pagesight`; what their runs leave alive is killed at the end."""
    made: list[Pagesight] = []

    def make(elasticsearch_url: str, standin: Standin | None = None, **settings: object) -> Pagesight:
        made.append(Pagesight(tmp_path / f"home-{len(made) + 1}", elasticsearch_url, standin, **settings))
        return made[-1]

    yield make
    for pagesight in made:
        pagesight.close()
        shutil.rmtree(pagesight.home)


@pytest.fixture
def pagesight(make_pagesight: MakePagesight, index: Index, elasticsearch_url: str, standin: Standin) -> Pagesight:
    """`pagesight` against a cluster with empty indices, and a stand-in of its own."""
    return make_pagesight(elasticsearch_url, standin)


def write_sixty_pages(pagesight: Pagesight) -> None:
    """A long PDF, shorter ones and pictures."""
    make_pdf(pagesight.files / "book.pdf", 30, seed=1)
    for number in range(5):
        make_pdf(pagesight.files / f"letter-{number}.pdf", 5, seed=10 + number)
    for number in range(5):
        make_picture(pagesight.files / f"plate-{number}.png", 20 + number)


@pytest.fixture
def sixty(pagesight: Pagesight, standin: Standin) -> Pagesight:
    """`pagesight` with sixty pages to work, and a stand-in slow enough for something to happen meanwhile."""
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.2)
    return pagesight


def answered(standin: Standin) -> int:
    """How many requests the stand-in has answered."""
    return int(standin.counters()["answered"])


def asked_although_archived(pagesight: Pagesight, archived: set[str], requests: list[dict[str, Any]]) -> list[str]:
    """Return those of the archived answers' keys that requests ask for again."""
    asked = {(request["image_sha256"], "Describe" in request["prompt"]) for request in requests}
    archive, again = pagesight.archive, []
    for reading in pagesight.newest():
        if isinstance(reading, Reading) and reading.image is not None:
            jpeg = archive.images.get(reading.image.key)
            assert jpeg is not None
            seen = hashlib.sha256(jpeg).hexdigest()
            for key in archived.intersection(reading.answers):
                answer = archive.answers.get(key)
                assert answer is not None
                if (seen, answer.question == "description") in asked:
                    again.append(key)
    return again
