"""Messages whose fields name no encoding, and what stands before their first field."""

from __future__ import annotations

import os
import tempfile

import pytest

from pipeline.core.errors import UnsupportedFormat
from pipeline.core.formats import MediaType, find_format
from pipeline.rendering.sandbox.containers.mail import MailContainer, open_eml
from support.rendering import LIMITS

FIELDS = "From: {sender} <a@example.org>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: {subject}\r\n"
ATTACHED = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain{charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    '--b\r\nContent-Type: application/pdf; name="{name}"\r\n'
    'Content-Disposition: attachment; filename="{name}"\r\n\r\n%PDF\r\n--b--\r\n'
)


def letter(encoding: str, subject: str, name: str, text: str = "words", charset: str = "") -> bytes:
    """A message in one encoding throughout, which its fields do not name."""
    words = {"sender": name, "subject": subject, "name": name + ".pdf", "text": text, "charset": charset}
    return (FIELDS + ATTACHED).format(**words).encode(encoding)


def opened(data: bytes) -> MailContainer:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return open_eml(os.dup(file.fileno()), LIMITS)


def said(data: bytes) -> tuple[str, list[str]]:
    """The page that a message becomes, and the names of its attachments."""
    assert find_format(data[:8192]) is MediaType.EML
    message = opened(data)
    return message._open(0).read().decode(), [member.name for member in message.listing[1:]]


@pytest.mark.parametrize(
    ("encoding", "subject", "name"),
    [
        ("utf-8", "Übersicht für März", "Prüfung Köln"),
        ("utf-8", "契約書の写し", "請求書"),
        ("cp1252", "Übersicht für März", "Prüfung Köln"),
        ("cp1252", "Procès-verbal de l’été", "reçu"),
        ("cp1250", "Příloha číslo šest", "žádost"),
        ("koi8_r", "Отчет за март", "Договор аренды"),
        ("cp1251", "Отчет за март", "Договор аренды"),
        ("cp1253", "Αναφορά εξόδων", "Μάρτιος"),
        ("cp932", "見積りのお願い", "請求書"),
        ("gb18030", "审计报告和合同", "发票"),
    ],
)
def test_fields_that_name_no_encoding_are_read(encoding: str, subject: str, name: str) -> None:
    page, attached = said(letter(encoding, subject, name))
    assert f"<td>{subject}</td>" in page
    assert f"<td>{name} &lt;a@example.org&gt;</td>" in page
    assert attached == [f"{name}.pdf"]


def test_the_encoding_of_the_text_is_the_likely_one_of_the_fields() -> None:
    """Three letters of Russian alone could be Greek or French."""
    page, attached = said(letter("cp1251", "Акт", "Акт", "Текст", "; charset=windows-1251"))
    assert "<td>Акт</td>" in page
    assert attached == ["Акт.pdf"]


def test_encoded_words_beside_raw_letters_and_in_wrong_encodings() -> None:
    subject = "Größe =?utf-8?q?f=C3=BCr?= =?utf-8?q?_M=C3=A4rz?= und =?us-ascii?q?K=F6ln?="
    page, _ = said(letter("utf-8", subject, "a"))
    assert "<td>Größe für März und Köln</td>" in page


def test_text_without_an_encoding_is_read_as_what_it_is() -> None:
    assert "Отчет за март прилагается" in said(letter("koi8_r", "Отчет", "a", "Отчет за март прилагается"))[0]


@pytest.mark.parametrize(
    "before",
    [
        b"\xef\xbb\xbf",
        b"From a@example.org Tue Nov 24 10:00:00 2026\r\n",
        b"\xef\xbb\xbfFrom a@example.org Tue Nov 24 10:00:00 2026\n",
        b">From a@example.org Tue Nov 24 10:00:00 2026\n",
        b"\r\n",
    ],
)
def test_what_stands_before_the_first_field_hides_no_message(before: bytes) -> None:
    page, attached = said(before + letter("utf-8", "Größe", "Prüfung", "From here on: 10:00:00 2026"))
    assert "<td>Größe</td>" in page
    assert "From here on" in page
    assert attached == ["Prüfung.pdf"]


def test_a_mailbox_of_several_messages_is_not_taken_for_its_first() -> None:
    line = b"From a@example.org Tue Nov 24 10:00:00 2026\n"
    with pytest.raises(UnsupportedFormat, match="several messages"):
        opened(line + letter("utf-8", "one", "a") + b"\n" + line + letter("utf-8", "two", "b"))
