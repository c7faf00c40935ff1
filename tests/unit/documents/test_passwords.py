"""Which passwords are tried on a file, and that nothing tells them."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from reportlab.lib.pdfencrypt import StandardEncryption

from pipeline.core.errors import EncryptedFile, ServiceRefused, SettingsError
from pipeline.core.formats import MediaType
from pipeline.core.settings import load
from pipeline.documents.passwords import MAX_TRIED, Passwords, Patterned, read_patterned
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.sandbox.pdf.encryption import pdf_forms, saslprep
from pipeline.services import open_passwords
from support.rendering import LIMITS, drawn_pdf, opened


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "passwords.txt"


def of_lines(file: Path, *lines: str) -> Passwords:
    file.write_bytes("\r\n".join(lines).encode())
    return Passwords(read_patterned(file), [SecretStr("general")])


def printing(*lines: str, status: int = 0) -> str:
    return f'{sys.executable} -c "print({chr(92) + "n"!r}.join({list(lines)!r})); exit({status})"'


def test_the_pattern_that_names_a_file_most_closely_comes_first(file: Path) -> None:
    passwords = of_lines(
        file,
        "# the year's",
        "",
        "*: any: thing ",
        "*.pdf: pdf",
        "invoices/2024-??.pdf: month",
        "/in/invoices/2024-*: year",
        "other.pdf: other",
        "nvoices/*: no",
    )
    expected = ("month", "year", "pdf", "any: thing ", "general")
    assert passwords.of("/in/invoices/2024-07.pdf") == expected
    assert passwords.of("s3://bucket/in/other.pdf") == ("other", "pdf", "any: thing ", "general")
    assert passwords.of("/invoices.pdf/letter.docx") == ("any: thing ", "general")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf*: verysecret\n\nverysecret without a pattern\n", "line 3"),
        (b"*.pdf:verysecret", "line 1"),
        (b"# fine\n*.pdf: \n", "line 2"),
        (b": verysecret", "line 1"),
        (b"*: verysecret\xff", "UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_names_the_line_and_nothing_of_it(file: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        read_patterned(file)
    assert str(file) in str(caught.value)
    assert "verysecret" not in "".join(traceback.format_exception(caught.value)) + caught.value.remedy


def test_the_command_runs_once_and_only_when_it_is_needed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = f"{sys.executable} -c \"open('{runs}', 'a').write('run '); print('one'); print(); print('two words')\""
    passwords = Passwords(general=[SecretStr("listed")], command=command)
    assert not runs.exists()
    assert passwords.of("/a.pdf") == passwords.of("/b.pdf") == ("listed", "one", "two words")
    assert passwords.count() == {"in the list": 1, "in the file": 0, "by the command": 2}
    assert runs.read_text() == "run "


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (printing("verysecret", status=3), "ended with status 3"),
        ("/no/such/program verysecret", "cannot be run: No such file"),
        (f"{sys.executable} -c \"import os; os.write(1, b'verysecret' + bytes([255]))\"", "not UTF-8"),
    ],
)
def test_a_command_that_fails_stops_the_run_and_tells_nothing(command: str, said: str) -> None:
    with pytest.raises(ServiceRefused, match=said) as caught:
        Passwords(command=command).of("/a.pdf")
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=False)
    assert "PAGESIGHT_PASSWORDS_COMMAND" in caught.value.remedy
    assert "verysecret" not in "".join(frames.format()) + repr(caught.value)


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.documents.passwords.COMMAND_SECONDS", 0.2)
    with pytest.raises(ServiceRefused, match="not done within"):
        Passwords(command="sleep 30").of("/a.pdf")


def test_no_more_are_tried_than_the_bound_and_none_twice() -> None:
    many = [SecretStr(str(number % 200)) for number in range(400)]
    assert len(set(Passwords(general=many).of("/a.pdf"))) == len(Passwords(general=many).of("/a.pdf")) == MAX_TRIED


def test_a_mark_tells_other_passwords_and_nothing_else(file: Path) -> None:
    def mark(*general: str, patterned: tuple[tuple[str, str], ...] = (), of: str = "id") -> str | None:
        lines = [Patterned(pattern, SecretStr(password)) for pattern, password in patterned]
        return Passwords(lines, list(map(SecretStr, general))).mark(of)

    assert mark() is None
    assert mark("a", "b") == mark("b", "a") == Passwords(general=[SecretStr("a")], command=printing("b")).mark("id")
    others = [mark("a"), mark("ab"), mark("a", "b"), mark("a", of="other"), mark(patterned=(("*", "a"),))]
    assert len(set(others)) == 5
    assert all(other is not None and "a" * 9 not in other for other in others)


def test_settings_take_passwords_one_a_line_or_as_a_list_and_show_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pagesight.toml").write_text('passwords = ["very secret", "[\\"verysecret\\"]"]\n')
    Path("pw.txt").write_text("*.pdf: verysecret\n")
    monkeypatch.setenv("PAGESIGHT_PASSWORDS_FILE", "pw.txt")
    settings = load()
    passwords = open_passwords(settings)
    assert passwords.of("/a.doc") == ("very secret", '["verysecret"]')
    shown = repr(settings) + str(settings.shown()) + str(settings.model_dump()) + settings.model_dump_json()
    assert not re.search("very ?secret", shown + repr(passwords) + repr(read_patterned(Path("pw.txt"))))
    assert settings.shown()["passwords"] == "**********, **********"

    monkeypatch.setenv("PAGESIGHT_PASSWORDS", "one\n\ntwo, three \n")
    assert open_passwords(load()).of("/a.doc") == ("one", "two, three ")
    for name, value in (("PASSWORDS_COMMAND", "pass 'verysecret"), ("PASSWORDS_FILE", "no.txt")):
        monkeypatch.setenv(f"PAGESIGHT_{name}", value)
        with pytest.raises(SettingsError) as caught:
            open_passwords(load())
        assert "verysecret" not in str(caught.value)
    Path("pagesight.toml").write_text('passwords = [["verysecret"]]\n')
    monkeypatch.delenv("PAGESIGHT_PASSWORDS")
    with pytest.raises(SettingsError, match="passwords") as caught:
        load()
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\xadX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("ª", "a"),
        ("Ⅸ", "IX"),
        ("a\u00a0b", "a b"),
        ("\x07", None),
        ("\u06271", None),
    ],
)
def test_saslprep_does_what_rfc_4013_shows(password: str, prepared: str | None) -> None:
    assert saslprep(password) == prepared


def test_a_password_is_offered_to_a_pdf_in_every_form_that_it_may_want() -> None:
    assert list(pdf_forms("plain")) == [b"plain"]
    assert list(pdf_forms("Ⅸ")) == ["Ⅸ".encode(), b"IX"]
    assert list(pdf_forms("5 €")) == ["5 €".encode(), b"5 \xa0"]
    assert list(pdf_forms("ü" * 100)) == ["ü".encode() * 63 + b"\xc3"]
    assert list(pdf_forms("a\0b")) == []


@pytest.mark.parametrize("password", ["lighthouse", "Leuchtturm für 5 €", "x" * 100])
def test_an_encrypted_pdf_opens_with_its_password_and_says_what_was_tried(pool: SandboxPool, password: str) -> None:
    key = password.translate({ord("€"): "\xa0"}).encode("latin-1")  # where PDFDocEncoding has it
    data = drawn_pdf(lambda paper: paper.drawString(72, 700, "found"), encrypt=StandardEncryption(key, "owner"))

    def text(*passwords: str) -> str | None:
        with opened(pool, data, MediaType.PDF, passwords=passwords) as document:
            return document.render(1).layer_text

    assert text("wrong", password, "other") == "found"
    assert text("owner") == "found"
    for wrong, said in (((), "none was given"), (("no",), "not the one given"), (("a", "b"), "none of the 2 given")):
        with pytest.raises(EncryptedFile, match=f"^the PDF needs a password, and {said}$") as caught:
            text(*wrong)
        assert "PAGESIGHT_PASSWORDS_FILE" in caught.value.remedy


def test_passwords_are_asked_for_only_where_a_file_is_encrypted(pool: SandboxPool) -> None:
    def never() -> tuple[str, ...]:
        raise AssertionError("asked")

    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(drawn_pdf(lambda paper: paper.drawString(72, 700, "open")))
        file.flush()
        with pool.open(file, MediaType.PDF, passwords=never) as document:
            assert document.render(1).layer_text == "open"


def test_many_long_passwords_fit_into_one_request(pool: SandboxPool) -> None:
    data = drawn_pdf(lambda paper: paper.drawString(72, 700, "found"), encrypt=StandardEncryption("last", "owner"))
    passwords = [f"{number}{'ю' * 5_000}" for number in range(99)]
    with opened(pool, data, MediaType.PDF, passwords=[*passwords, "last"]) as document:
        assert document.pages == 1
