"""Coverage-guided fuzzing of what reads foreign bytes: `python coverage_fuzzing.py TARGET FOLDER [OPTION…]`.

Each target may raise documented errors only, and may take `INPUT_CPU_SECONDS` and `MEMORY_MB` for one input. libFuzzer
ends with a status other than 0 at the first input that breaks a rule, and saves the input in FOLDER. OPTIONs are
libFuzzer's. The process is confined before the first input: it reads code and writes FOLDER.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

with atheris.instrument_imports(include=["pipeline", "zipfile", "tarfile", "py7zr", "email", "olefile"]):
    from pipeline.batches.messages import from_json
    from pipeline.core.confinement import Confinement, confine, interpreter_paths
    from pipeline.core.errors import OutcomeError, SettingsError
    from pipeline.core.formats import Envelope, MediaType
    from pipeline.core.models import AnswerKind
    from pipeline.core.signatures import HEAD_BYTES
    from pipeline.core.stale_filter import parse_conditions
    from pipeline.rendering.protocol import RenderLimits
    from pipeline.rendering.sandbox.containers.archives import Container, open_archive
    from pipeline.rendering.sandbox.containers.mail import open_eml, open_msg
    from pipeline.rendering.sandbox.containers.sniffing import format_of
    from pipeline.sources import media_type_of
    from pipeline.vision.endpoint.http_errors import server_message
    from pipeline.vision.profile.conditions import PAGE_NAMES, check_condition, evaluate
    from pipeline.vision.profile.definition import Question
    from pipeline.vision.profile.parsing import condition_values
    from pipeline.vision.quality.checks import AnswerType, Context, check
    from support.compound_files import compound_file, outlook_message
    from support.containers import mail as mail_file
    from support.containers import seven_zipped, tarred, zipped

#: Longest input. Readers look at no more of a head; containers of this size have a few hundred members.
MAX_BYTES = 16 << 10
INPUT_CPU_SECONDS = 5
MEMORY_MB = 1024
#: What the sandbox reports as an outcome: its own errors, and the limit of its address space, which ends the largest
#: dictionaries of LZMA.
REPORTED = (OutcomeError, MemoryError)
LIMITS = RenderLimits(30, 300, MEMORY_MB, 100, 10**7, max_members=200, max_expansion=100)
ARCHIVES = (MediaType.ZIP, MediaType.SEVEN_ZIP, MediaType.TAR, MediaType.GZIP, MediaType.BZIP2, MediaType.XZ)
QUESTIONS = [
    Question(name="asked", kind=AnswerKind.TEXT, prompt="Say it in {language}.", max_tokens=100),
    Question(name="asked", kind=AnswerKind.YES_NO, prompt="Is it? Say yes or no.", max_tokens=8),
    Question(name="asked", kind=AnswerKind.CHOICE, choices=("red", "blue"), prompt="Say red or blue.", max_tokens=8),
    Question(name="asked", kind=AnswerKind.NUMBER, prompt="How many? Say a number, or NONE.", max_tokens=8),
    Question(name="asked", kind=AnswerKind.LIST, prompt="Which? In {language}.", max_tokens=100),
]


class BoundedSink:
    """Takes what members hold, up to the size that the limits allow."""

    def __init__(self) -> None:
        self._left = 64 << 20

    def begin(self, index: int) -> bool:
        return self._left > 0

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        assert self._left > -(2 << 20), "members give more bytes than they said"

    def end(self) -> None:
        pass


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def read_all(data: bytes, open_container: Callable[[int], Container]) -> None:
    """List the members of a container, and read each of them."""
    with in_memory(data) as descriptor:
        try:
            with closing(open_container(descriptor)) as container:
                for index, member in enumerate(container.listing):
                    assert 0 < len(member.name) <= 300
                    read_member(container, index)
        except REPORTED:
            return


def read_member(container: Container, index: int) -> None:
    try:
        container.extract(index, BoundedSink())
    except REPORTED:
        return


def heads(data: bytes) -> None:
    try:
        media_type_of(data[:HEAD_BYTES])
    except OutcomeError:
        return


def archives(data: bytes) -> None:
    kind = ARCHIVES[data[0] % len(ARCHIVES)] if data else MediaType.ZIP
    read_all(data[1:], lambda descriptor: open_archive(descriptor, kind, LIMITS, ["secret"]))


def envelopes(data: bytes) -> None:
    envelope = list(Envelope)[data[0] % len(Envelope)] if data else Envelope.ZIP
    with in_memory(data[1:]) as descriptor:
        try:
            format_of(descriptor, envelope)
        except REPORTED:
            return


def mail(data: bytes) -> None:
    read_all(data, lambda descriptor: open_eml(descriptor, LIMITS))


def outlook(data: bytes) -> None:
    read_all(data, lambda descriptor: open_msg(descriptor, LIMITS))


def conditions(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    names = {**PAGE_NAMES, "colour": ("red", ("red", "blue")), "count": (1.0, ()), "words": (("a", "b"), ())}
    try:
        check_condition(text, names)
    except ValueError:
        pass
    else:
        for values in ({name: sample for name, (sample, _) in names.items()}, dict.fromkeys(names)):
            assert evaluate(text, values) in (True, False, None)
    try:
        parse_conditions(text.split())
    except SettingsError:
        return


def messages(data: bytes) -> None:
    kind = ("walk", "part", "pages", "project")[data[0] % 4] if data else "walk"
    try:
        from_json(kind, json.loads(data[1:]))
    except ValueError:
        return
    except RecursionError:  # of the JSON library; kombu catches it as it catches all errors of a decoder
        return


def answers(data: bytes) -> None:
    server_message(data)
    text = data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    for question in QUESTIONS:
        condition_values(text, question)
    for kind in AnswerType:
        layer = text[: len(text) // 2] or None
        page = Context(kind, "Describe it.", "en", 500, 400, False, False, 0.1, 800, 1000, glyph_px=12.0)
        check(text, replace(page, layer_text=layer, empty_answer="NONE"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (heads, archives, envelopes, mail, outlook, conditions, messages, answers)
}

#: Inputs to begin with, by target. Those of containers begin with the byte that chooses the reader.
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "heads": lambda: [
        b"%PDF-1.7",
        b"P5 # a\n 1 1 255\n",
        b"<svg xmlns='x'/>",
        b"From: a\nTo: b\n\n",
        zipped({"a": b"b"}),
    ],
    "archives": lambda: [
        b"\0" + zipped({"a.txt": b"words", "b/c.pdf": b"%PDF"}),
        b"\1" + seven_zipped({"a.txt": b"words"}),
        b"\1" + seven_zipped({"a.txt": b"words"}, "secret"),
        b"\2" + tarred({"a.txt": b"words"}, mode="w"),
        b"\3" + tarred({"a.txt": b"words"}),
        b"\4" + tarred({"a.txt": b"words"}, mode="w:bz2"),
        b"\5" + tarred({"a.txt": b"words"}, mode="w:xz"),
    ],
    "envelopes": lambda: [
        bytes([number]) + data
        for number in range(len(Envelope))
        for data in (
            zipped({"mimetype": b"application/vnd.oasis.opendocument.text"}),
            tarred({"a": b"b"}),
            outlook_file(),
        )
    ],
    "mail": lambda: [
        mail_file("subject", "words", {"a.pdf": b"%PDF"}),
        mail_file("=?utf-8?q?s=C3=BC?=", "words", html="<p>words</p>"),
    ],
    "outlook": lambda: [outlook_file()],
    "conditions": lambda: [
        b"page.kind == 'scanned' and not count > 2",
        b"colour in ['red'] or 'a' in words",
        b"older-than=3d",
    ],
    "messages": lambda: [
        b'\0{"batch":"20261130T225034-b18e8a","root":"file:///a","url":"file:///a"}',
        b'\1{"batch":"20261130T225034-b18e8a","chunk":"' + b"a" * 32 + b'.0","part":0}',
        b'\2{"batch":"20261130T225034-b18e8a","chunk":"'
        + b"a" * 32
        + b'.0","part":0,"entry":1,"document":"'
        + b"b" * 64
        + b'","pages":[1,2]}',
        b'\3{"collection":"default","documents":["' + b"b" * 64 + b'"]}',
    ],
    "answers": lambda: [
        b"1. red\n2. blue\n",
        b"The answer is: 1,234.5",
        b'["a", "b"]',
        b"word word word " * 40,
        b"NONE",
    ],
}


def outlook_file() -> bytes:
    return compound_file(outlook_message("subject", "words", {"a.pdf": b"%PDF"}))


def bounded(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Hold a target to the CPU time that one input may take."""

    def run(data: bytes) -> None:
        began = time.process_time()
        target(data)
        seconds = time.process_time() - began
        assert seconds < INPUT_CPU_SECONDS, f"{seconds:.1f} s of CPU time"

    return run


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        corpus.joinpath(f"seed-{number}").write_bytes(seed)
    os.chdir(folder)
    limits = {resource.RLIMIT_AS: 4 * MEMORY_MB << 20, resource.RLIMIT_FSIZE: 1 << 20}
    confine(Confinement([*interpreter_paths(), ROOT], [folder], limits=limits))
    bounds = (f"-max_len={MAX_BYTES}", f"-rss_limit_mb={MEMORY_MB}", "-timeout=120", "-print_final_stats=1")
    arguments = [sys.argv[0], *bounds, f"-artifact_prefix={folder}/", *sys.argv[3:], str(corpus)]
    atheris.Setup(arguments, bounded(TARGETS[name]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
