"""Files of the corpus, damaged at random, through the project's own doors: what must hold whatever a file does.

A mutant may end in pages or in an `OutcomeError`, and in nothing else. Afterwards an honest file is rendered as ever,
and neither a process nor a descriptor nor a file is left. The same seed makes the same mutants.
"""

from __future__ import annotations

import hashlib
import io
import random
import struct
import tempfile
import time
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO

import psutil
from PIL import Image

from pipeline.core.child_process import TimeLimit
from pipeline.core.errors import OutcomeError
from pipeline.core.formats import MediaType, Route
from pipeline.core.models import RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.core.signatures import HEAD_BYTES
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.conversion import Converter
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.rendering.conversion.confinement import ConversionLimits
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.protocol import RenderLimits
from pipeline.sources import media_type_of
from support.compound_files import compound_file, outlook_message
from support.containers import mail, seven_zipped, tarred, zipped
from support.corpus import CORPUS, manifest
from support.pictures import file_of

#: Larger files are mutated too seldom at the places that matter.
MAX_SEED_BYTES = 200_000
PAGES = 3
EXTRACTED_BYTES = 4 << 20
MAX_PIXELS = 1_003_520
#: How much more than its limit a request may take before it counts as one that hangs, in seconds: starting a sandbox,
#: killing it, and other processes on the machine.
GRACE_SECONDS = 60
#: Lengths, counts and offsets that decoders stumble over.
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PNG = b"\x89PNG\r\n\x1a\n"
#: Outcomes that end the sandbox: the next file needs a new one.
DEADLY = ("render_crashed", "render_timeout", "render_memory")


@dataclass
class Fuzzed:
    """What came of the mutants of one format."""

    kind: MediaType
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    """Messages of decoders that crashed, all of them contained. The first file of each is kept."""
    slowest_seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    """Rules that did not hold, each with the file that shows it."""

    def __str__(self) -> str:
        counted = ", ".join(f"{word} {count}" for word, count in self.outcomes.most_common())
        crashes = "".join(f"\n    {count} x {message}" for message, count in self.crashes.most_common(8))
        return f"{self.kind}: {self.outcomes.total()} mutants, slowest {self.slowest_seconds:.1f} s: {counted}{crashes}"


class Fuzzer:
    """A sandbox with what stands before it, at work on mutants.

    Args:
        page_seconds: what a page or a file that is opened may take; a conversion three times as long.
        keep: where files are saved that show that a rule did not hold.
    """

    def __init__(self, page_seconds: float, keep: Path, memory_mb: int = 1024) -> None:
        self._limits = RenderLimits(
            page_seconds=page_seconds,
            wall_seconds=10 * page_seconds,
            memory_mb=memory_mb,
            max_pages=2_000,
            max_pixels=100_000_000,
            max_members=1_000,
            max_expansion=100,
        )
        self._conversion = ConversionLimits(TimeLimit(3 * page_seconds, 30 * page_seconds), memory_mb, sheet_pages=20)
        self._keep = keep

    def fuzz(self, kind: MediaType, chance: random.Random, going_on: Callable[[int], bool]) -> Fuzzed:
        """Mutate seeds of a format for as long as `going_on` says of the number of mutants so far."""
        fuzzed, seeds = Fuzzed(kind), seed_files()[kind]
        before, others = descriptors(), set(psutil.Process().children(recursive=True))
        with closing(SandboxPool(1, self._limits)) as pool:
            opener = Opener(pool, Passwords(), Converter(self._conversion, PrioritySemaphore(1)))
            honest = self._honest(opener)
            while going_on(fuzzed.outcomes.total()):
                data = mutate(seeds, chance)
                word = self._judge(opener, kind, data, fuzzed)
                fuzzed.outcomes[word] += 1
                if word in DEADLY and self._honest(opener) != honest:
                    fuzzed.broken.append(f"an honest file is rendered otherwise after {self._save(kind, data)}")
            if self._honest(opener) != honest:
                fuzzed.broken.append("an honest file is rendered otherwise at the end")
        left = [child.name() for child in psutil.Process().children(recursive=True) if child not in others]
        if left or descriptors() != before:
            fuzzed.broken.append(f"left: processes {left}, {descriptors() - before} descriptors")
        if names := list(Path(tempfile.gettempdir()).iterdir()):
            fuzzed.broken.append(f"files left: {names}")
        return fuzzed

    def _judge(self, opener: Opener, kind: MediaType, data: bytes, fuzzed: Fuzzed) -> str:
        began = time.monotonic()
        try:
            with in_a_file(data) as file:
                self._use(opener, kind, file)
            word = "ok"
        except OutcomeError as error:
            word = error.code
            if word == "render_crashed":
                message = str(error)[:160]
                if message not in fuzzed.crashes:
                    self._save(kind, data)
                fuzzed.crashes[message] += 1
        except Exception as error:
            word = "broken"
            fuzzed.broken.append(f"{type(error).__name__}: {error} by {self._save(kind, data)}")
        seconds = time.monotonic() - began
        fuzzed.slowest_seconds = max(seconds, fuzzed.slowest_seconds)
        # Identified, opened, and so many pages rendered, each within its time.
        if seconds > (PAGES + 2) * self._limits.page_seconds + GRACE_SECONDS:
            fuzzed.broken.append(f"{seconds:.0f} s were taken by {self._save(kind, data)}")
        return word

    def _use(self, opener: Opener, kind: MediaType, file: BinaryIO) -> None:
        """Do with a file all that is done with files of its kind, whatever its head says now.

        Raises:
            OutcomeError: what is wrong with it.
        """
        cancel, path, name = CancelToken(), "a/file", hashlib.file_digest(file, "sha256").hexdigest()
        if kind.route in (Route.CONTAINER, Route.PDF):
            opener.members(file, path, cancel)
            for _ in opener.extract(file, path, 0, EXTRACTED_BYTES, cancel):
                pass
        if kind.route is not Route.CONTAINER:
            with opener.open(file, name, path, kind, cancel) as document:
                for number in range(1, min(document.pages, PAGES) + 1):
                    check(document.render(number))

    def _honest(self, opener: Opener) -> str:
        with in_a_file(honest_file()) as file, opener.open(file, "", "", MediaType.PNG, CancelToken()) as document:
            return document.render(1).pixels_sha256

    def _save(self, kind: MediaType, data: bytes) -> Path:
        self._keep.mkdir(parents=True, exist_ok=True)
        path = self._keep / f"{kind.name.lower()}-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        return path


def check(page: RenderedPage) -> None:
    """Hold a page against what every page is."""
    assert 0 < page.width_px * page.height_px <= MAX_PIXELS
    assert "\0" not in (page.layer_text or "")


@cache
def seed_files() -> dict[MediaType, tuple[bytes, ...]]:
    """Return small files of every format that there are any of, by the format that their bytes are of."""
    seeds: dict[MediaType, list[bytes]] = defaultdict(list)
    limits = RenderLimits(30, 300, 1024, 2_000, 100_000_000, max_members=1_000, max_expansion=100)
    with closing(SandboxPool(1, limits)) as pool:
        opener = Opener(
            pool, Passwords(), Converter(ConversionLimits(TimeLimit(30, 300), 1024, 20), PrioritySemaphore(1))
        )
        for data in (*_corpus_files(), *_made_files()):
            try:
                with in_a_file(data) as file:
                    kind = opener.refine(file, media_type_of(data[:HEAD_BYTES]), CancelToken())
            except OutcomeError:
                continue
            seeds[kind].append(data)
    return {kind: tuple(seeds[kind]) for kind in MediaType if kind in seeds}


def _corpus_files() -> Iterator[bytes]:
    for entry in manifest():
        if 0 < entry["bytes"] <= MAX_SEED_BYTES and "bomb" not in (entry["expected"], *entry["tags"]):
            yield (CORPUS / entry["file"]).read_bytes()


def _made_files() -> Iterator[bytes]:
    """Yield files of formats that the corpus has none of."""
    members = {"folder/a.png": honest_file(), "b.txt": b"text " * 500}
    yield from (zipped(members), tarred(members, mode="w"), tarred(members), seven_zipped(members))
    yield from (mail("Tariffs", "The new ones.", members), compound_file(outlook_message("Tariffs", "New", members)))
    yield file_of(Image.open(io.BytesIO(honest_file())).convert("RGB"), MediaType.PNM)
    yield b"<!DOCTYPE html><html><body><h1>Tariffs</h1><table><tr><td>Grain</td><td>3</td></tr></table></body></html>"
    yield b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect width="40" height="30"/></svg>'


@cache
def honest_file() -> bytes:
    """Return a picture that every version renders."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((90, 60)).save(buffer, "PNG")
    return buffer.getvalue()


def mutate(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """Return one of the seeds, damaged in one to four ways; as often as not behind its checksums."""
    seed = chance.choice(seeds)
    if chance.random() < 0.5:
        if seed.startswith(b"PK"):
            return _damage_member(seed, chance)
        if seed.startswith(_PNG):
            return _with_checksums(_damage(seed, seeds, chance))
    return _damage(seed, seeds, chance)


def _damage(seed: bytes, seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        chance.choice(_DAMAGES)(data, seeds, chance)
    return bytes(data)


def _damage_member(seed: bytes, chance: random.Random) -> bytes:
    """Return a ZIP archive, which an office file is, with one damaged member packed as it should be."""
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        try:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        except (zipfile.BadZipFile, zlib.error):  # a seed that came damaged
            return seed[: chance.randrange(len(seed))]
    chosen = chance.randrange(len(members))
    name, data = members[chosen]
    members[chosen] = name, _damage(data, (data,), chance) if data else b"\0"
    return zipped(members)


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums that belong to them, as far as there are chunks."""
    mended, at = bytearray(data), len(_PNG)
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def _flip_bits(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 32))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _truncate(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _swap_chunks(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    size = chance.randint(1, 64)
    first, second = _place(data, chance), _place(data, chance)
    one, other = bytes(data[first : first + size]), bytes(data[second : second + size])
    data[second : second + size] = one
    data[first : first + size] = other


def _repeat_chunk(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = data[place : place + chance.randint(1, 256)] * chance.choice((1, 2, 50))


def _splice(data: bytearray, seeds: tuple[bytes, ...], chance: random.Random) -> None:
    other = chance.choice(seeds)
    place = chance.randrange(len(other) or 1)
    data[_place(data, chance) :] = other[place:]


def _odd_number(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    """Overwrite what may be a length, a count or an offset."""
    code = chance.choice((">I", "<I", ">H", "<H", ">B"))
    number = struct.pack(code, chance.choice(ODD_NUMBERS) & ((1 << 8 * struct.calcsize(code)) - 1))
    place = _place(data, chance)
    data[place : place + len(number)] = number


def _odd_digits(data: bytearray, _: tuple[bytes, ...], chance: random.Random) -> None:
    """Overwrite a number written in digits, as in PDF, RTF and XML."""
    place = next((at for at in range(_place(data, chance), len(data)) if 0x30 <= data[at] <= 0x39), None)
    if place is not None:
        data[place : place + 1] = str(chance.choice((*ODD_NUMBERS, -1, 10**18))).encode()


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a place in a file; as often as not near its beginning, where headers are."""
    return chance.randrange(max(1, min(len(data), 512) if chance.random() < 0.5 else len(data)))


_DAMAGES = (_flip_bits, _truncate, _swap_chunks, _repeat_chunk, _splice, _odd_number, _odd_digits)


@contextmanager
def in_a_file(data: bytes) -> Iterator[BinaryIO]:
    """Give an open file without a name."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        yield file


def descriptors() -> int:
    """Return how many descriptors this process has."""
    return psutil.Process().num_fds()


def cpu_seconds() -> float:
    """Return the CPU time that this process and all it ever started have taken."""
    own = psutil.Process()
    times = [own.cpu_times(), *(child.cpu_times() for child in own.children(recursive=True))]
    return times[0].children_user + times[0].children_system + sum(time.user + time.system for time in times)
