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

#: Errors of py7zr and its decompressors about damaged archives.
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
_NEEDS_PASSWORD = "the 7z archive needs a password"
_NEEDS_ANOTHER = "the 7z archive needs another password"


class SevenZip:
    """An open archive; `entries` are its files as py7zr describes them, directories and the like left out."""

    def __init__(self, file: BinaryIO, passwords: Sequence[str]) -> None:
        """Read the directory.

        Raises:
            CorruptFile: the directory cannot be read.
            EncryptedFile: the directory needs another password.
        """
        self._file = file
        self._password = self._first_fitting(passwords)
        self.entries = _entries(self._open(self._password))

    def extract(self, wanted: Iterable[tuple[int, Any]], sink: Sink) -> None:
        """Send numbered entries to the sink, in their order, until it declines one.

        Raises:
            CorruptFile, EncryptedFile, UnsupportedFormat: the entry that began last cannot be read.
        """
        archive = self._open(self._password)
        current = _CurrentMember(sink)
        for index, entry in wanted:
            archive.worker.register_filelike(entry.id, MemIO("", _Factory(current, index)))
        try:
            archive.worker.extract(self._file, None, parallel=False)
        except _SinkFull:
            return
        except ConnectionError:  # the parent closed the socket
            raise
        except PasswordRequired as error:
            raise EncryptedFile(_NEEDS_PASSWORD) from error
        except UnsupportedCompressionMethodError as error:
            raise UnsupportedFormat("the member is compressed in a way that is not supported") from error
        except _ERRORS as error:
            raise CorruptFile(f"the member is damaged: {error}"[:200]) from error
        current.end()

    def _open(self, password: str | None) -> SevenZipFile:
        self._file.seek(0)
        try:
            return SevenZipFile(self._file, password=password)
        except PasswordRequired as error:
            raise EncryptedFile(_NEEDS_PASSWORD) from error
        except _ERRORS as error:
            if password is not None:
                raise EncryptedFile(_NEEDS_ANOTHER) from error
            raise CorruptFile(f"the 7z archive is damaged: {error}"[:200]) from error

    def _first_fitting(self, passwords: Sequence[str]) -> str | None:
        """Return the password that opens the directory and, if they are encrypted too, the files."""
        refused = None
        for password in passwords:
            try:
                entries = [entry for entry in _entries(self._open(password)) if entry.uncompressed]
                if entries:
                    self._password = password
                    self.extract([(0, entries[0])], _NullSink())
                return password
            except (EncryptedFile, CorruptFile) as error:
                refused = error
        if isinstance(refused, EncryptedFile):
            raise EncryptedFile(_NEEDS_ANOTHER) from refused
        return None


class _SinkFull(Exception):
    """The sink declined a member."""


class _NullSink:
    """A sink that discards the bytes of a member."""

    def begin(self, index: int) -> bool:
        return True

    def write(self, data: bytes) -> None:
        return

    def end(self) -> None:
        return


class _CurrentMember:
    """Reports to a sink which member py7zr writes. py7zr compares checksums before it opens the next member."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._index: int | None = None

    def begin(self, index: int) -> None:
        self.end()
        if not self.sink.begin(index):
            raise _SinkFull
        self._index = index

    def end(self) -> None:
        if self._index is not None:
            self.sink.end()
            self._index = None


class _Factory(WriterFactory):
    def __init__(self, current: _CurrentMember, index: int) -> None:
        self._current = current
        self._index = index

    def create(self, filename: str) -> Py7zIO:
        """Return the writer for a member."""
        self._current.begin(self._index)
        return _Writer(self._current)


class _Writer(Py7zIO):
    def __init__(self, current: _CurrentMember) -> None:
        self._current = current

    def write(self, s: bytes | bytearray) -> int:
        """Pass decompressed bytes to the sink."""
        self._current.sink.write(bytes(s))
        return len(s)

    def read(self, size: int | None = None) -> bytes:
        """Return no bytes: nothing is kept."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: the sink is a stream."""
        return 0

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def size(self) -> int:
        """Return 0: nothing is kept."""
        return 0

    def close(self) -> None:
        """End the member."""
        self._current.end()


def _entries(archive: SevenZipFile) -> list[Any]:
    return [entry for entry in archive.files if not entry.is_directory and not entry.is_socket]
