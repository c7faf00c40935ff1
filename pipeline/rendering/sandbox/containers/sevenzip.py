"""7z archives, by py7zr, one pass at a time. Runs in the sandbox process."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from py7zr import SevenZipFile
from py7zr.exceptions import ArchiveError, PasswordRequired, UnsupportedCompressionMethodError
from py7zr.io import MemIO, Py7zIO, WriterFactory

from pipeline.core.errors import CorruptFile, EncryptedFile, UnsupportedFormat
from pipeline.rendering.sandbox.containers.members import Sink

#: What py7zr and the decompressors below it raise about broken archives.
_ERRORS = (
    ArchiveError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
)
_WANTS_PASSWORD = "the 7z archive wants a password"
_WANTS_ANOTHER = "the 7z archive wants another password"


class SevenZip:
    """An open archive; `entries` are its files as py7zr describes them, directories and the like left out."""

    def __init__(self, file: BinaryIO, passwords: Sequence[str]) -> None:
        """Read the directory.

        Raises:
            CorruptFile: there is none that can be read.
            EncryptedFile: it wants another password.
        """
        self._file = file
        self._password = self._first_fitting(passwords)
        self.entries = _entries(self._open(self._password))

    def extract(self, wanted: Iterable[tuple[int, Any]], sink: Sink) -> None:
        """Give the sink entries in their order, each with its number, until it wants no more.

        Raises:
            CorruptFile, EncryptedFile, UnsupportedFormat: the entry that was begun last cannot be had.
        """
        archive = self._open(self._password)
        begun = _Begun(sink)
        for index, entry in wanted:
            archive.worker.register_filelike(entry.id, MemIO("", _Factory(begun, index)))
        try:
            archive.worker.extract(self._file, None, parallel=False)
        except _Enough:
            return
        except ConnectionError:  # the parent has gone while it was sent something
            raise
        except PasswordRequired as error:
            raise EncryptedFile(_WANTS_PASSWORD) from error
        except UnsupportedCompressionMethodError as error:
            raise UnsupportedFormat("the member is compressed in a way that is not supported") from error
        except _ERRORS as error:
            raise CorruptFile(f"the member is damaged: {error}"[:200]) from error
        begun.end()

    def _open(self, password: str | None) -> SevenZipFile:
        self._file.seek(0)
        try:
            return SevenZipFile(self._file, password=password)
        except PasswordRequired as error:
            raise EncryptedFile(_WANTS_PASSWORD) from error
        except _ERRORS as error:
            if password is not None:
                raise EncryptedFile(_WANTS_ANOTHER) from error
            raise CorruptFile(f"the 7z archive is damaged: {error}"[:200]) from error

    def _first_fitting(self, passwords: Sequence[str]) -> str | None:
        """Return the password that opens the directory and, where they are encrypted too, the files."""
        refused = None
        for password in passwords:
            try:
                entries = [entry for entry in _entries(self._open(password)) if entry.uncompressed]
                if entries:
                    self._password = password
                    self.extract([(0, entries[0])], _Nowhere())
                return password
            except (EncryptedFile, CorruptFile) as error:
                refused = error
        if isinstance(refused, EncryptedFile):
            raise EncryptedFile(_WANTS_ANOTHER) from refused
        return None


class _Enough(Exception):
    """The sink wants no more."""


class _Nowhere:
    """A sink for one member that nobody wants."""

    def begin(self, index: int) -> bool:
        return True

    def write(self, data: bytes) -> None:
        return

    def end(self) -> None:
        return


class _Begun:
    """Tells a sink of the members that py7zr opens and closes. The checksum is compared between the two."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._index: int | None = None

    def begin(self, index: int) -> None:
        self.end()
        if not self.sink.begin(index):
            raise _Enough
        self._index = index

    def end(self) -> None:
        if self._index is not None:
            self.sink.end()
            self._index = None


class _Factory(WriterFactory):
    def __init__(self, begun: _Begun, index: int) -> None:
        self._begun = begun
        self._index = index

    def create(self, filename: str) -> Py7zIO:
        """Return what py7zr writes a member to."""
        self._begun.begin(self._index)
        return _Writer(self._begun)


class _Writer(Py7zIO):
    def __init__(self, begun: _Begun) -> None:
        self._begun = begun

    def write(self, s: bytes | bytearray) -> int:
        """Hand on what py7zr decompressed."""
        self._begun.sink.write(bytes(s))
        return len(s)

    def read(self, size: int | None = None) -> bytes:
        """Give nothing back."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Stay."""
        return 0

    def flush(self) -> None:
        """Keep nothing back."""

    def size(self) -> int:
        """Hold nothing."""
        return 0

    def close(self) -> None:
        """Hear that the member is complete."""
        self._begun.end()


def _entries(archive: SevenZipFile) -> list[Any]:
    return [entry for entry in archive.files if not entry.is_directory and not entry.is_socket]
