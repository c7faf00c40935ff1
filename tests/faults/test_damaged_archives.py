"""Every command that reads the archive, over an archive with damaged files of every kind, chosen by a seed.

A command ends without a traceback and with an exit code that its help names, it names each damaged file that it came
upon, and it answers for everything else.
"""

from __future__ import annotations

import io
import json
import logging
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.archive.inventory import FOLDERS
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.messages import Part, chunk_id, folder_id, members_id
from pipeline.cli.app import RootGroup
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.models import (
    BatchEntry,
    BudgetReservation,
    Chunk,
    Conversion,
    Deletion,
    DocumentCost,
    FileState,
    FleetState,
    Folder,
    Lane,
    MemberListing,
    Outcome,
    PartState,
    PendingDocument,
    Scope,
    VanishedFiles,
)
from pipeline.verbs.tokens import create_token
from support import in_process
from support.ended import Ended
from support.pagesight_runs import Pagesight, make_pdf
from support.readings import NOW, full_run
from support.redis_server import RedisServer

#: Commands that read no file of the archive, or that other tests hold to damaged files; each with the reason.
ELSEWHERE = {
    "index": "test_damaged_files.py",
    "inspect": "it opens no archive",
    "profile": "it opens no archive",
    "ask": "it reads page images, whose damage is that of any picture",
    "serve": "it serves page images, and its searches read the index",
    "watch": "it lives on, and does what `sync` does",
    "embed": "it reads readings as `reindex` does; a damaged vector is made again",
    "setup": "it opens no archive",
    "doctor": "it only writes to the archive",
    "worker": "it lives on; unit tests hold the handlers of its messages to damaged files",
    "beat": "it opens no archive",
    "security": "it opens no archive",
    "kibana": "it opens no archive",
    "elasticsearch": "it opens no archive",
    "redis": "it opens no archive",
}
#: All other commands: words, and what is in the output whatever is damaged. FILES and BATCH are filled in.
READING: dict[str, tuple[tuple[str, str], ...]] = {
    "plan": (("FILES --json", "measured"),),
    "enqueue": (("FILES --json", "batch"),),
    "status": (("--json", "BATCH"), ("", "BATCH")),
    "batches": (("--json", "BATCH"), ("", "BATCH")),
    "cancel": (("OPEN", ""),),
    "pause": (("", ""), ("OPEN", "")),
    "resume": (("", ""), ("OPEN", "")),
    "failures": (("--json", "torn.pdf"), ("", "torn.pdf")),
    "retry": (("--json", ""),),
    "search": (("sheet --json", "letter.pdf"),),
    "collections": (("--json", "default"), ("", "default")),
    "documents": (("letter --json", "letter.pdf"), ("", "letter.pdf")),
    "token": (("list --json", "tokens"), ("list", "")),
    "show": (("letter.pdf --json", "letter.pdf"),),
    "sync": (("FILES --dry-run --json", "known"),),
    "redescribe": (("--dry-run --where reason=other --json", "stale"), ("--dry-run", "")),
    "review": (("--output review.html", ""),),
    "evaluate": (("EXPECTED --json", "letter.pdf"),),
    "delete": (("book.pdf --yes --json", ""),),
    "reindex": (("--dry-run --json", "written"),),
    "repair": (("--dry-run --json", "differences"),),
    "archive": (("check --json", "findings"), ("check --repair --json", "findings")),
    "schedule": (("list --json", "schedules"), ("history --json", "runs")),
}
#: What a power cut, a full disk, other programs and people leave in the place of a file.
Damage = Callable[[Path, random.Random], None]


def _empty(path: Path, _chance: random.Random) -> None:
    path.write_bytes(b"")


def _cut(path: Path, chance: random.Random) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: chance.randrange(1, len(whole))])


def _zeros(path: Path, _chance: random.Random) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def _garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(200))


def _another_type(path: Path, chance: random.Random) -> None:
    path.write_text(chance.choice(["[1]", "null", '"text"', "7", "{}", "[]"]))


def _wrong_field(path: Path, chance: random.Random) -> None:
    fields = json.loads(path.read_bytes())
    fields[chance.choice(sorted(fields))] = chance.choice([{"x": 1}, [{}], "\ud800", -1, None, 1e300])
    path.write_text(json.dumps(fields))


def _flipped(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _folder(path: Path, _chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _strangers(path: Path, _chance: random.Random) -> None:
    """Files of other programs beside the file and beside its folder."""
    for folder in (path.parent, path.parent.parent):
        for name in (".DS_Store", "Thumbs.db", "copy of 1.json", f"{path.name}.orig", ".nfs0001"):
            (folder / name).write_bytes(b"?")


DAMAGE: tuple[Damage, ...] = (
    _empty,
    _cut,
    _zeros,
    _garbage,
    _another_type,
    _wrong_field,
    _flipped,
    _folder,
    _strangers,
)


def test_every_command_is_placed() -> None:
    commands = {entry.name for entries in RootGroup.sections.values() for entry in entries}
    assert READING.keys() | ELSEWHERE.keys() == commands
    assert not READING.keys() & ELSEWHERE.keys()


@dataclass
class Bench:
    """An archive with files of every kind, and commands over it; each begins with the archive as it was."""

    pagesight: Pagesight
    batch: str
    open_batch: str
    whole: Path
    """A copy of the undamaged archive."""
    noted: set[str] = field(default_factory=set)
    """Names of the damaged files that the last command came upon."""

    @property
    def folder(self) -> Path:
        return self.pagesight.archive_folder

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.whole, self.folder)

    def files(self, pattern: str) -> list[Path]:
        """Files of a kind; those of the letter and of its batch stay whole."""
        kept = (self.batch, *self._kept)
        found = sorted(path for path in self.folder.glob(f"{pattern}/*.json") if path.is_file())
        return [path for path in found if not any(name in str(path) for name in kept)]

    def run(self, words: str) -> Ended:
        filled = {
            "FILES": str(self.pagesight.files),
            "OPEN": self.open_batch,
            "EXPECTED": str(self.pagesight.home / "expected"),
        }
        self.noted.clear()
        given = [filled.get(word, word) for word in words.split()]
        log, printing = logging.getLogger("pipeline"), logging.lastResort
        assert printing is not None
        log.addHandler(printing)  # what prints warnings where nothing captures them, as the tests do
        try:
            return in_process.run(given, self.pagesight.environment, self.pagesight.home)
        finally:
            log.removeHandler(printing)

    @property
    def _kept(self) -> Iterator[str]:
        letter = self.pagesight.files / "letter.pdf"
        source = source_id(f"file://{letter}")
        yield source
        document = json.loads((self.whole / "sources" / "default" / source / "1.json").read_bytes())["document"]["id"]
        yield document
        for reading in (self.whole / "readings" / "default" / document).iterdir():
            yield from json.loads(reading.read_bytes())["answers"]


def _fill(archive: Archive, store: Store, root: str, document: str) -> str:
    """Archive a file of every other kind; return the id of the open batch."""
    batch = begin_batch(archive, "default", None, "en", ["more"], lane=Lane.NORMAL, roots=[root])
    listing, entries = folder_id(root, root, ""), tuple(BatchEntry(url=f"{root}{n:02}.pdf") for n in range(40))
    chunk = chunk_id(listing, 0)
    records = archive.journal(batch.id)
    records.chunks.add(chunk, Chunk(entries=entries))
    records.chunks.add(chunk_id(listing, 1), Chunk(entries=entries[:3]))
    records.folders.add(
        listing, Folder(root=root, url=root, cursor="", sources=(40, 3), folders=(), next_cursor="", passed_over=1)
    )
    records.members.add(members_id(Part(batch.id, chunk, 1)), MemberListing(sources=(2,)))
    pending = PendingDocument(entry=0, document=document, pages=2, due=(1,), known={1: 1})
    records.begin(chunk, 0, None, PartState(documents=(pending,)))
    records.begin(chunk, 1, 3, PartState(documents=()))
    records.close_part(chunk, 2, Outcome(documents={"complete": 8}, pages={"described": 8}))
    records.closed.add(chunk_id(listing, 1), Outcome(documents={"complete": 3}, pages={"described": 3}))
    records.replaced.add(source_id(entries[0].url), FileState(bytes=1, mtime_ns=1, inode=1))
    records.costs[document].create(DocumentCost(cpu_seconds=1.5, revision=1))
    records.vanished.add("all", VanishedFiles(sources=1))
    archive.reservations[batch.id].create(BudgetReservation(tokens=1, revision=1))
    archive.fleet.create(FleetState(state="running", since=NOW, revision=1))
    archive.runs["nightly"].create(full_run().model_copy(update={"schedule": "nightly", "revision": 1}))
    archive.deletions["default"].create(
        Deletion(collection="default", document_id="e" * 64, purge=False, requested_at=NOW, revision=1)
    )
    create_token(archive, "reader", Scope.READ, None, NOW)
    report = Conversion(converter="c", sha256="0" * 64, pages=1, seconds=1.0, converted_at=NOW)
    archive.conversions.save(document, 1, io.BytesIO(b"%PDF"), report)
    store.put("heard/nightly", b"2026-01-01T00:00:00+00:00")
    return batch.id


@pytest.fixture
def bench(pagesight: Pagesight, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Bench:
    make_pdf(pagesight.files / "book.pdf", 2, seed=1)
    (pagesight.files / "torn.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    pagesight.index()
    make_pdf(pagesight.files / "letter.pdf", 1, seed=2)
    batch = pagesight.index().json["batch"]
    pagesight.set(redis_url=redis_server.url)
    expected = pagesight.home / "expected"
    expected.mkdir()
    (expected / "letter.pdf.txt").write_text("Volume 2, sheet 1")
    (pagesight.home / "more").mkdir()
    store = Store(str(pagesight.archive_folder))
    archive = Archive(store)
    (document,) = {
        source.document.id
        for name in archive.sources("default").names()
        if (source := archive.sources("default")[name].newest()) and source.document and "book" in source.path
    }
    opened = _fill(archive, store, f"file://{pagesight.home}/more/", document)
    whole = pagesight.home / "whole"
    shutil.copytree(pagesight.archive_folder, whole)
    made = Bench(pagesight, batch, opened, whole)
    note = Store.note_damage

    def noting(store: Store, error: ArchiveDamaged) -> None:
        made.noted.add(error.name)
        note(store, error)

    monkeypatch.setattr(Store, "note_damage", noting)
    monkeypatch.setattr("workers.publishing.publish", lambda _app, messages, *_: len(list(messages)))
    return made


def documented_codes(command: str, words: str) -> set[int]:
    """The exit codes that the help of a command names."""
    module = import_module(f"pipeline.cli.{command}")
    texts = [value for name, value in vars(module).items() if name.endswith("EXAMPLES")]
    said = " ".join(text.partition("Exit codes:")[2] for text in texts)
    return {int(code) for code in re.findall(r"\b(\d+) (?=\D)", said)}


def problems(bench: Bench, command: str, words: str, expected: str) -> Iterator[str]:
    """What is wrong with how a command ends."""
    ended = bench.run(f"{command} {words}")
    if "Traceback" in ended.stderr:
        yield ended.stderr[-3000:]
    elif ended.code not in documented_codes(command, words):
        yield f"exit code {ended.code}: {ended.stderr[-500:]}"
    for name in bench.noted:
        if name not in (ended.stderr + ended.stdout).replace("\n", ""):
            yield f"{name} is not named: {ended.stderr[-500:]}"
    wanted = bench.batch if expected == "BATCH" else expected
    if ended.code < 2 and wanted not in ended.stdout:
        yield f"{wanted} is missing in the output: {ended.stdout[:2000]} {ended.stderr[-500:]}"


ROUNDS = 6
DAMAGED_TOGETHER = 6


def test_no_command_ends_in_a_traceback_over_damaged_files(bench: Bench) -> None:
    chance = random.Random(13)
    patterns = [pattern for pattern, _ in FOLDERS]
    assert [pattern for pattern in patterns if not bench.files(pattern)] == []
    kinds = chance.sample(patterns, len(patterns)) * ROUNDS
    wrong = []
    for number in range(ROUNDS):
        some = kinds[number * DAMAGED_TOGETHER : (number + 1) * DAMAGED_TOGETHER]
        damage = [(pattern, chance.choice(DAMAGE), chance.randrange(2**32)) for pattern in some]
        for command, uses in READING.items():
            words, expected = chance.choice(uses)
            bench.restore()
            for pattern, damages, seed in damage:
                one = random.Random(seed)
                damages(one.choice(bench.files(pattern)), one)
            told = ", ".join(f"{pattern} {damages.__name__}" for pattern, damages, _ in damage)
            wrong += [f"{command} {words} after {told}: {what}" for what in problems(bench, command, words, expected)]
    assert not wrong, "\n\n".join(wrong)
