"""The contract of the two runners: `pagesight index` and `pagesight enqueue` end with the same records for a folder.

Every scenario has a first run, a change, and a second run. All first runs share a worker, and so do all second runs.
The second worker has other limits and passwords. A third one, for a few second runs, has no model. Each scenario has a
collection of its own for each runner.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen import canvas

from pipeline.core.models import FilePatterns, Source
from pipeline.search.index import Index
from pipeline.sources import is_below, source_url
from pipeline.vision.profile import load_profile
from support.both_runners import Folder, LocalRuns, Order, QueuedRuns, Runner, own_broker, pdf_bytes, worker
from support.containers import zipped
from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight
from support.redis_server import RedisServer
from support.standin import Standin

#: The fixture does all runs.
pytestmark = pytest.mark.timeout(900)

FIRST = {"max_pages": 10}
SECOND = {"max_pages": 100, "passwords": "Kittiwake-4711"}
WITHOUT_MODEL = {"vlm_url": None, "vlm_api_key": None}
#: Pages of a document that is long enough for something to happen while it is read.
LONG = 40


def _nothing(_folder: Folder) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to a folder, and what of it is searchable afterwards."""

    first: Callable[[Folder], object] = _nothing
    then: Callable[[Folder], object] = _nothing
    during: Callable[[Folder], object] | None = None
    """Happens during the second run, when a page is read."""
    language: str | None = None
    """Of the second run."""
    profile: str | None = None
    """Of the second run."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns of the second run."""
    unmounted: str = ""
    """Subfolder on a disk of its own, which is not mounted in the second run."""
    stopped: bool = False
    """Whether the second run is interrupted or cancelled, and followed by a third."""
    twice: bool = False
    """Whether the second run is two runs at once."""
    without_model: bool = False
    """Whether no model is configured in the second run."""
    counts_differ: bool = False
    """A document with two paths counts once for `index` and twice for `enqueue`: no worker sees the whole folder."""
    paths: tuple[str, ...] = ("a.pdf",)
    """Paths of the pages that are there in the end."""
    failed: tuple[str, ...] = ()
    """Codes of the failed sources in the end."""


def one(folder: Folder) -> None:
    folder.pdf("a.pdf", 3, seed=1)


def two(folder: Folder) -> None:
    one(folder)
    folder.pdf("b.pdf", 2, seed=2)


def rename(old: str, new: str) -> Callable[[Folder], object]:
    def act(folder: Folder) -> None:
        (folder.path / new).parent.mkdir(exist_ok=True)
        (folder.path / old).rename(folder.path / new)

    return act


def remove(*names: str) -> Callable[[Folder], object]:
    return lambda folder: [(folder.path / name).unlink() for name in names]


def long(folder: Folder) -> None:
    folder.pdf("a.pdf", LONG, seed=30)


def replace(folder: Folder) -> None:
    folder.pdf("a.pdf", 4, seed=31)


def box(*pages: tuple[str, int]) -> Callable[[Folder], object]:
    def act(folder: Folder) -> None:
        folder.write("box.zip", zipped({name: pdf_bytes(folder.path.parent, 2, seed) for name, seed in pages}))

    return act


def locked(folder: Folder) -> None:
    buffer = BytesIO()
    paper = canvas.Canvas(buffer, pagesize=(300, 400), encrypt=StandardEncryption("Kittiwake-4711"), invariant=1)
    paper.drawString(30, 300, "The letter of the pilots")
    paper.save()
    folder.write("locked.pdf", buffer.getvalue())
    one(folder)


def strange(folder: Folder) -> None:
    one(folder)
    (folder.path / "out.pdf").symlink_to("/etc/hostname")
    os.mkfifo(folder.path / "pipe.pdf")


#: Seed of the files of somebody else, to which links lead.
OUTSIDE = 77


def outside(folder: Folder, name: str) -> Path:
    """A file of somebody else, in a folder beside that of the scenario."""
    theirs = Folder(folder.path.with_name(f"{folder.path.name}.theirs"))
    return theirs.pdf(name, 2, OUTSIDE)


def three(folder: Folder) -> None:
    two(folder)
    folder.pdf("deep/c.pdf", 2, seed=3)


def swap_a_file(folder: Folder) -> None:
    target = outside(folder, "a.pdf")
    (folder.path / "a.pdf").unlink()
    (folder.path / "a.pdf").symlink_to(target)


def swap_a_file_and_a_folder(folder: Folder) -> None:
    (folder.path / "b.pdf").unlink()
    (folder.path / "b.pdf").symlink_to(outside(folder, "b.pdf"))
    (folder.path / "deep").rename(folder.path.with_name("deep before"))
    (folder.path / "deep").symlink_to(outside(folder, "c.pdf").parent)


def littered(folder: Folder) -> None:
    """Documents among litter, in a folder and in a container."""
    one(folder)
    page = pdf_bytes(folder.path.parent, 1, 40)
    for name in ("._a.pdf", "~$a.pdf", "a.pdf.part", ".git/a.pdf", "@eaDir/a.pdf"):
        folder.write(name, page)
    folder.write("box.zip", zipped({"b.pdf": page, "._b.pdf": page, "#recycle/c.pdf": page}))


def drafts(folder: Folder) -> None:
    one(folder)
    for number, name in enumerate(("drafts/b.pdf", "drafts/gone.pdf")):
        folder.pdf(name, 1, seed=50 + number)


def more_drafts(folder: Folder) -> None:
    """More files that patterns leave out, in folders and in a container, and an excluded one that is gone."""
    page = pdf_bytes(folder.path.parent, 1, 60)
    (folder.path / "drafts/gone.pdf").unlink()
    for name in ("drafts/c.pdf", "a.pdf.bak", "deep/drafts/d.pdf"):
        folder.write(name, page)
    folder.write("box.zip", zipped({"x.pdf": page, "drafts/y.pdf": page}))


UNSAFE = b"caf\xe9 \xff\n#%?.pdf"

SCENARIOS = {
    "new": Scenario(then=two, paths=("a.pdf", "b.pdf")),
    "same again": Scenario(two, paths=("a.pdf", "b.pdf")),
    "renamed": Scenario(two, rename("b.pdf", "c.pdf"), paths=("a.pdf", "c.pdf")),
    "moved to another folder": Scenario(two, rename("b.pdf", "below/b.pdf"), paths=("a.pdf", "below/b.pdf")),
    "replaced before": Scenario(two, lambda folder: folder.pdf("b.pdf", 4, seed=3), paths=("a.pdf", "b.pdf")),
    "replaced during": Scenario(then=long, during=replace),
    "deleted before": Scenario(two, remove("b.pdf")),
    "deleted during": Scenario(then=long, during=remove("a.pdf"), paths=(), failed=("vanished",)),
    "a copy": Scenario(
        one, lambda folder: folder.pdf("copy.pdf", 3, seed=1), counts_differ=True, paths=("a.pdf", "copy.pdf")
    ),
    "the copy deleted": Scenario(
        lambda folder: [one(folder), folder.pdf("copy.pdf", 3, seed=1)], remove("copy.pdf"), counts_differ=True
    ),
    "emptied folder": Scenario(two, remove("a.pdf", "b.pdf"), paths=("a.pdf", "b.pdf")),
    "missing folder": Scenario(
        two,
        lambda folder: folder.path.rename(folder.path.with_name("unmounted")),
        paths=("a.pdf", "b.pdf"),
        failed=("vanished",),
    ),
    "unmounted subfolder": Scenario(
        lambda folder: [two(folder), rename("b.pdf", "disk/b.pdf")(folder)],
        remove("disk/b.pdf"),
        unmounted="disk",
        paths=("a.pdf", "disk/b.pdf"),
    ),
    "container": Scenario(box(("a.pdf", 5), ("b.pdf", 6)), paths=("box.zip/a.pdf", "box.zip/b.pdf")),
    "container with changed members": Scenario(
        box(("a.pdf", 5), ("b.pdf", 6)),
        box(("a.pdf", 7), ("c.pdf", 8)),
        paths=("box.zip/a.pdf", "box.zip/c.pdf"),
    ),
    "container deleted": Scenario(lambda folder: [one(folder), box(("b.pdf", 6))(folder)], remove("box.zip")),
    "passwords given later": Scenario(locked, paths=("a.pdf", "locked.pdf")),
    "no model": Scenario(
        two,
        lambda folder: [rename("b.pdf", "d.pdf")(folder), folder.pdf("c.pdf", 1, seed=41)],
        language="de",
        without_model=True,
        paths=("a.pdf", "c.pdf", "d.pdf"),
    ),
    "limit raised": Scenario(lambda folder: folder.pdf("a.pdf", 12, seed=9)),
    "profile changed": Scenario(one, profile="visual"),
    "language changed": Scenario(one, language="de"),
    "interrupted, then again": Scenario(then=long, stopped=True),
    "two runs at once": Scenario(then=two, twice=True, paths=("a.pdf", "b.pdf")),
    "a link out of the folder, and a pipe": Scenario(strange, failed=("outside_link", "unsupported")),
    "a file and a folder replaced by links": Scenario(
        three,
        swap_a_file_and_a_folder,
        paths=("a.pdf", "deep/c.pdf"),  # nothing says that c.pdf is gone
        failed=("outside_link", "outside_link"),
    ),
    "a file replaced by a link during": Scenario(then=long, during=swap_a_file, paths=(), failed=("outside_link",)),
    "litter": Scenario(littered, paths=("a.pdf", "box.zip/b.pdf")),
    "patterns": Scenario(
        drafts,
        more_drafts,
        include=("*.pdf", "*.zip"),
        exclude=("drafts/",),
        paths=("a.pdf", "drafts/b.pdf", "drafts/gone.pdf", "box.zip/x.pdf"),
    ),
    "damaged file mended": Scenario(lambda folder: folder.write("a.pdf", b"%PDF-1.7 and nothing more"), one),
    "damaged file": Scenario(
        two,
        lambda folder: folder.write("b.pdf", b"%PDF-1.7 and nothing more"),
        failed=("corrupt",),
    ),
    "unsafe name": Scenario(lambda folder: folder.pdf(UNSAFE, 2, seed=11), paths=("caf\ufffd \ufffd\n#%?.pdf",)),
    "around the runner's own home": Scenario(one),
}


def root_of(scenario: str) -> str:
    """The folder that a scenario is about, below that of its runner."""
    return "nested" if scenario == "around the runner's own home" else "files/" + scenario.replace(" ", "-")


def collection(scenario: str, runner: Runner) -> str:
    return f"{runner.name}-{list(SCENARIOS).index(scenario)}"


def mount_in_archive(runner: Runner, name: str, folder: Path) -> None:
    """Say of the sources below a folder that a disk was mounted there: only root could mount one for the first run."""
    sources = runner.archive.sources(name)
    for identifier in sources.names():
        if is_below(sources[identifier].newest().url, source_url(folder)):  # type: ignore[union-attr]
            sources[identifier].append(lambda newest: _on_disk(newest, folder))


def _on_disk(source: Source | None, folder: Path) -> Source:
    assert source is not None
    return source.model_copy(update={"mount": source_url(folder), "revision": source.revision + 1})


def patterns(scenario: Scenario, folder: Path) -> FilePatterns | None:
    if not (scenario.include or scenario.exclude):
        return None
    return FilePatterns(roots=(source_url(folder),), include=scenario.include, exclude=scenario.exclude)


class Contract:
    """Both runners, and the folders of every scenario for each."""

    def __init__(self, local: LocalRuns, queued: QueuedRuns) -> None:
        self.runners = (local, queued)
        self._folders: dict[tuple[str, str], Folder] = {}

    def folder(self, name: str, runner: Runner) -> Folder:
        path = runner.root / root_of(name)
        path.mkdir(parents=True, exist_ok=True)
        return self._folders.setdefault((name, runner.name), Folder(path))

    def order(self, name: str, runner: Runner, **more: object) -> Order:
        return Order(runner.root / root_of(name), collection(name, runner), **more)  # type: ignore[arg-type]

    def first(self, runner: Runner) -> None:
        """The first run of each scenario."""
        with_first = [name for name, scenario in SCENARIOS.items() if scenario.first is not _nothing]
        for name in with_first:
            SCENARIOS[name].first(self.folder(name, runner))
        runner.run([self.order(name, runner) for name in with_first])  # type: ignore[attr-defined]

    def second(self, runner: Runner) -> None:
        """The second run of each scenario, and a third one of those that were interrupted."""
        self._then(runner, [name for name, scenario in SCENARIOS.items() if not scenario.without_model])
        runner.run([self.order(name, runner) for name, scenario in SCENARIOS.items() if scenario.stopped])  # type: ignore[attr-defined]

    def without_model(self, runner: Runner) -> None:
        """The second run of the scenarios in which no model is configured."""
        self._then(runner, [name for name, scenario in SCENARIOS.items() if scenario.without_model])

    def _then(self, runner: Runner, names: list[str]) -> None:
        """Change the folders of these scenarios, and run."""
        orders = []
        for name in names:
            scenario = SCENARIOS[name]
            folder = self.folder(name, runner)
            scenario.then(folder)
            if scenario.unmounted:
                mount_in_archive(runner, collection(name, runner), folder.path / scenario.unmounted)
            during = scenario.during
            orders.append(
                self.order(
                    name,
                    runner,
                    language=scenario.language,
                    patterns=patterns(scenario, runner.root / root_of(name)),
                    profile=load_profile(scenario.profile) if scenario.profile else None,
                    once_read=(lambda folder=folder, during=during: during(folder)) if during else None,
                    stopped=scenario.stopped,
                    twice=scenario.twice,
                )
            )
        # The scenarios in which something happens during the run come first: the worker has nothing else to do then.
        orders.sort(key=lambda order: not (order.once_read or order.stopped))
        runner.run(orders)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def contract(elasticsearch_url: str, redis_executable: Path) -> Iterator[Contract]:
    """Both runners, after all runs."""
    with (
        tempfile.TemporaryDirectory(prefix="pagesight-both-") as name,
        Standin() as standin,
        Index(elasticsearch_url) as index,
    ):
        home = Path(name)
        index.drop()
        index.install()
        index.require_answers(load_profile("visual").own_kinds)
        (home / "redis").mkdir()
        server = RedisServer(redis_executable, home / "redis")
        server.start()
        runners = []
        for kind, runs in (("index", LocalRuns), ("enqueue", QueuedRuns)):
            pagesight = Pagesight(home / kind, elasticsearch_url, standin, vlm_concurrency=4, worker_silence_seconds=10)
            pagesight.set(home=pagesight.home / "house" / "nested" / "state", redis_url=server.url)
            runners.append(runs(kind, pagesight))
        try:
            yield run_all(runners[0], runners[1], server, standin)  # type: ignore[arg-type]
        finally:
            for runner in runners:
                runner.pagesight.close()
            server.stop()


def run_all(local: LocalRuns, queued: QueuedRuns, server: RedisServer, standin: Standin) -> Contract:
    """Do all first runs with one worker, then the second runs with two other ones."""
    contract = Contract(local, queued)
    fleet = Fleet(queued.pagesight, server)
    steps = ((contract.first, FIRST), (contract.second, SECOND), (contract.without_model, WITHOUT_MODEL))
    for step, settings in steps:
        for runner in contract.runners:
            runner.pagesight.set(**settings)
        with own_broker(queued.settings), worker(queued, fleet):
            standin.tell(latency_seconds=0.05)
            for runner in contract.runners:
                step(runner)
    return contract


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_runners_end_with_the_same_records(contract: Contract, name: str) -> None:
    scenario = SCENARIOS[name]
    local, queued = (
        runner.records(collection(name, runner), with_path=bool(scenario.during)) for runner in contract.runners
    )
    assert local == queued


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_runners_count_the_same(contract: Contract, name: str) -> None:
    scenario = SCENARIOS[name]
    local, queued = (
        [
            (batch.state, batch.documents, batch.pages)
            for batch in runner.batches[collection(name, runner)]
            if batch.state == "done"
        ]
        for runner in contract.runners
    )
    if scenario.counts_differ:
        assert [state for state, *_ in local] == [state for state, *_ in queued]
    else:
        assert local == queued


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_records_are_those_of_the_folder(contract: Contract, name: str) -> None:
    scenario = SCENARIOS[name]
    for runner in contract.runners:
        pages = runner.pagesight.records(collection=collection(name, runner))
        paths = {path for record in pages.values() for path in record["document"].get("path", ())}
        assert paths == {f"{runner.root / root_of(name)}/{path}" for path in scenario.paths}
        sources = runner.pagesight.records("sources", collection(name, runner)).values()
        assert sorted(record["error"]["type"] for record in sources if "error" in record) == sorted(scenario.failed)


def test_a_runner_leaves_its_own_home_out(contract: Contract) -> None:
    for runner in contract.runners:
        sources = runner.pagesight.records("sources", collection("around the runner's own home", runner)).values()
        assert [record["path"] for record in sources] == [f"{runner.root}/nested/a.pdf"]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if "replaced by" in name])
def test_a_file_behind_a_link_is_never_read(contract: Contract, name: str) -> None:
    for runner in contract.runners:
        theirs = (runner.root / root_of(name)).with_name(f"{name.replace(' ', '-')}.theirs")
        (document, *others) = {hashlib.sha256(path.read_bytes()).hexdigest() for path in theirs.iterdir()}
        assert others == []
        assert document not in runner.archive.documents(collection(name, runner))


def test_both_runners_count_litter(contract: Contract) -> None:
    for runner in contract.runners:
        assert [batch.passed_over for batch in runner.batches[collection("litter", runner)]] == [7, 7]


def test_without_a_model_both_runners_leave_descriptions_and_say_so(contract: Contract) -> None:
    for runner in contract.runners:
        pages = runner.pagesight.records(collection=collection("no model", runner)).values()
        assert sorted((record["document"]["pages"], record["status"]) for record in pages) == [
            (1, "text_only"),
            *[(2, "described")] * 2,
            *[(3, "described")] * 3,
        ]
        assert [batch.descriptions_kept for batch in runner.batches[collection("no model", runner)]] == [0, 5]
