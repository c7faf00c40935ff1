"""Encrypted files in whole runs: opened by passwords that are given, tried again when others are, told to nobody."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen import canvas

from pipeline.archive import source_id
from pipeline.core.models import Source
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES
from pipeline.sources import argument_url
from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_pdf

#: In every form in which they might be written somewhere.
SECRETS = ("Kittiwake-4711", "Fährhafen für 5 €", "guillemot 88", "never-fits-0815")


def locked(path: Path, password: str, text: str) -> None:
    key = password.translate({ord("€"): "\xa0"}).encode("latin-1")
    paper = canvas.Canvas(str(path), pagesize=(300, 400), encrypt=StandardEncryption(key, "owner-" + path.name))
    paper.drawString(30, 300, text)
    paper.save()


@pytest.fixture
def files(pagesight: Pagesight) -> Path:
    return write_files(pagesight.files)


def write_files(folder: Path) -> Path:
    make_pdf(folder / "open.pdf", 1, seed=1)
    (folder / "ferries").mkdir()
    locked(folder / "letter.pdf", SECRETS[0], "The letter of the pilots")
    locked(folder / "ferries" / "plan.pdf", SECRETS[1], "The plan of the ferries")
    locked(folder / "minutes.pdf", SECRETS[2], "The minutes of the council")
    return folder


def source(pagesight: Pagesight, path: Path) -> Source:
    found = pagesight.archive.sources("default")[source_id(argument_url(str(path)))].newest()
    assert found is not None
    return found


def assert_told_to_nobody(pagesight: Pagesight, *besides: bytes) -> None:
    """No secret in what was written, indexed, sent to the model, or in `besides`."""
    written = [path for path in pagesight.home.rglob("*") if path.is_file() and path.name != "passwords.txt"]
    assert len(written) > 20
    indexed = [pagesight.records(alias) for alias in (PAGES, DOCUMENTS, SOURCES, BATCHES)]
    asked = pagesight.standin.requests() if pagesight.standin else []
    everything = [path.read_bytes() for path in written]
    everything += [json.dumps([indexed, asked], ensure_ascii=False).encode(), *besides]
    for secret in SECRETS:
        forms = (secret.encode(), json.dumps(secret)[1:-1].encode(), secret.encode("utf-16-le"))
        assert not any(form in content for content in everything for form in forms), secret


def test_encrypted_files_are_opened_by_what_is_given_and_tried_again_when_that_changes(
    pagesight: Pagesight, files: Path
) -> None:
    none = pagesight.index()
    assert none.code == 1
    assert none.json["documents"] == {"complete": 1, "failed": 3}
    failures = pagesight.failures()
    assert {failure["type"] for failure in failures.values()} == {"encrypted"}
    assert failures["letter.pdf"]["message"] == "the PDF needs a password, and none was given"
    assert "PAGESIGHT_PASSWORDS" in failures["letter.pdf"]["remedy"]

    # Nothing else is given, so nothing is tried again: not even a file that came to lie there unchanged.
    assert pagesight.index().json["documents"] == none.json["documents"]
    assert source(pagesight, files / "letter.pdf").revision == 1

    pagesight.set(passwords="never-fits-0815\nKittiwake-4711")
    assert pagesight.index().json["documents"] == {"complete": 2, "failed": 2}
    failures = pagesight.failures()
    assert set(failures) == {"plan.pdf", "minutes.pdf"}
    assert failures["plan.pdf"]["message"] == "the PDF needs a password, and none of the 2 given"

    lines = pagesight.home / "passwords.txt"
    lines.write_text(f"# ours\nferries/*: {SECRETS[1]}\n", encoding="utf-8")
    # A command that prints the last one, without it being part of the command.
    script = pagesight.home / "print_it"
    script.write_text("#!/bin/sh\necho 'unlocking' >&2\nprintf 'guille%s 88\\n' mot\n")
    script.chmod(0o700)
    pagesight.set(passwords_file=lines, passwords_command=script)
    ended = pagesight.start_index().ended()  # a process of its own, whose standard error the command inherits
    assert ended.code == 0
    assert ended.json["documents"] == {"complete": 4}
    assert "unlocking" in ended.stderr
    (page,) = pagesight.page_records("plan.pdf")
    assert page["layer_text"] == "The plan of the ferries"

    doctor = pagesight.run("doctor", "--json")
    checks = {check["name"]: check for check in doctor.json["checks"]}
    assert checks["passwords of files"]["found"] == "2 in the list, 1 in the file, 1 by the command"
    assert checks["passwords"]["found"] == "**********, **********"

    # What is known stays so without passwords, and costs none.
    pagesight.set(passwords=None, passwords_file=None, passwords_command="/no/such/program")
    assert pagesight.index().json["documents"] == {"complete": 4}
    assert_told_to_nobody(pagesight)
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


def test_a_command_that_fails_stops_the_run_and_a_bad_file_or_word_is_named(pagesight: Pagesight, files: Path) -> None:
    pagesight.set(passwords_command="/bin/sh -c 'echo Kittiwake-4711; exit 7'")
    ended = pagesight.index()
    assert ended.code == 3
    assert "the command for passwords ended with status 7" in ended.stderr

    lines = pagesight.home / "passwords.txt"
    lines.write_text("*.pdf: fine\nnever-fits-0815\n")
    pagesight.set(passwords_command=None, passwords_file=lines)
    ended = pagesight.index()
    assert ended.code == 2
    assert "line 2" in ended.stderr
    doctor = pagesight.run("doctor")
    assert "never-fits-0815" not in ended.stderr + doctor.stdout + doctor.stderr
    assert doctor.code == 3


@contextmanager
def overheard(fleet: Fleet) -> Iterator[list[bytes]]:
    """Everything that is said to Redis meanwhile, and what the bodies of messages are in plain."""
    said: list[bytes] = []
    with socket.create_connection(("127.0.0.1", fleet.server.port)) as connection:
        connection.sendall(b"MONITOR\r\n")

        def listen() -> None:
            while part := connection.recv(1 << 16):
                said.append(part)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield said
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            listener.join()
    everything = b"".join(said)
    said[:] = [everything, *map(_plain, re.findall(rb"[A-Za-z0-9+/]{24,}=*", everything))]


def _plain(encoded: bytes) -> bytes:
    return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))


def test_no_worker_tells_a_password(fleet: Fleet) -> None:
    pagesight = fleet.pagesight
    write_files(pagesight.files)
    lines = pagesight.home / "passwords.txt"
    lines.write_text("".join(f"*: {secret}\n" for secret in SECRETS), encoding="utf-8")
    with overheard(fleet) as said:
        worker = fleet.start_worker(passwords_file=lines, log_level="debug")
        ended = fleet.until_ended(fleet.enqueue())
        assert ended.documents == {"complete": 4}, fleet.said()
        arguments = [" ".join(process.cmdline()) for process in worker.family() if process.is_running()]
        fleet.stop_all()
    assert any(b"pagesight" in message and b"batch" in message for message in said)
    assert any("pipeline.rendering.sandbox.child" in words for words in arguments)
    assert_told_to_nobody(pagesight, *said, "\n".join(arguments).encode())
