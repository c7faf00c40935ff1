"""Encodes passwords as file formats require. Runs in the sandbox process."""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pipeline.core.errors import EncryptedFile

T = TypeVar("T")

#: Bytes of a password that are used (ISO 32000-2, 7.6.4.3.3).
_PDF_BYTES = 127
#: PDFDocEncoding where it is not Latin-1 (ISO 32000-2, table D.2), from 0x80 on.
_PDF_DOC = "•†‡…—–ƒ⁄‹›−‰„“”‘’‚™ﬁﬂŁŒŠŸŽıłœšž\ufffd€"
_PDF_DOC_BYTES = {ord(char): 0x80 + place for place, char in enumerate(_PDF_DOC) if char != "\ufffd"} | {
    ord(char): 0x18 + place for place, char in enumerate("˘ˇˆ˙˝˛˚˜")
}
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def first_that_opens(opens: Callable[[str], T | None], passwords: Sequence[str], what: str) -> T:
    """Return the result of `opens` for the first password that opens the file.

    Args:
        opens: returns None for a wrong password.
        what: the file, as the message names it: `the PDF`.

    Raises:
        EncryptedFile: no password opens it. The message gives their number, and nothing else of them.
    """
    for password in passwords:
        if (opened := opens(password)) is not None:
            return opened
    raise wrong_passwords(what, len(passwords))


def wrong_passwords(what: str, tried: int) -> EncryptedFile:
    """Return the error for an encrypted file after `tried` passwords failed."""
    if not tried:
        return EncryptedFile(f"{what} needs a password, and none was given")
    return EncryptedFile(f"{what} needs a password, and {f'none of the {tried}' if tried > 1 else 'not the one'} given")


def pdf_forms(password: str) -> Iterator[bytes]:
    """Yield the encodings of a password that the revisions of PDF's encryption may require.

    PDFium itself converts UTF-8 to Latin-1 for revision 4 and older. Added here are SASLprep, which revision 6 requires
    and some writers omit, and the characters of PDFDocEncoding that are not in Latin-1.
    """
    forms = [password.encode()]
    prepared = saslprep(password)
    if prepared is not None:
        forms.append(prepared.encode())
    if any(ord(char) in _PDF_DOC_BYTES for char in password) and (encoded := _pdf_doc(password)) is not None:
        forms.append(encoded)
    for form in dict.fromkeys(form[:_PDF_BYTES] for form in forms):
        if b"\0" not in form:
            yield form


def _pdf_doc(password: str) -> bytes | None:
    try:
        return password.translate(_PDF_DOC_BYTES).encode("latin-1")
    except UnicodeEncodeError:
        return None


def saslprep(password: str) -> str | None:
    """Return a password prepared by RFC 4013, None if that forbids the password."""
    mapped = (" " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char))
    prepared = unicodedata.normalize("NFKC", "".join(mapped))
    if any(prohibits(char) for char in prepared for prohibits in _PROHIBITED):
        return None
    rtl = [stringprep.in_table_d1(char) for char in prepared]
    if any(rtl) and (any(map(stringprep.in_table_d2, prepared)) or not (rtl[0] and rtl[-1])):
        return None
    return prepared
