"""Compound files (MS-CFB), which old office files and Outlook's messages are. Runs in the sandbox process."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, BinaryIO

import olefile

from pipeline.core.errors import CorruptFile

#: Offset of the sector shift in the header, and its two values: sectors of 512 and of 4,096 bytes (MS-CFB 2.2).
_SHIFT_OFFSET = 30
_SHIFTS = (9, 12)
#: olefile's word for a size that only the chain of sectors tells. olefile bounds it by the size of the file.
_UNKNOWN_SIZE = olefile.olefile.UNKNOWN_SIZE

if TYPE_CHECKING:
    _OleFile = olefile.OleFileIO[str]
else:
    _OleFile = olefile.OleFileIO  # generic in its stubs alone


def open_compound(file: BinaryIO) -> olefile.OleFileIO[str]:
    """Return the streams of a compound file.

    olefile reads whole sectors of whatever size the header names: 32 GiB at once, from a file of 4 kB. It also follows
    a chain of sectors that is a circle, for the size that the header or a directory entry names: 4 GiB.

    Raises:
        CorruptFile: the header names a sector size that no version has.
        OSError, ValueError, IndexError, AttributeError, RecursionError, TypeError: as olefile raises them.
    """
    head = file.read(_SHIFT_OFFSET + 2)
    file.seek(0)
    if len(head) == _SHIFT_OFFSET + 2 and struct.unpack_from("<H", head, _SHIFT_OFFSET)[0] not in _SHIFTS:
        raise CorruptFile("the compound file is damaged: its sectors have an impossible size")
    return _CompoundFile(file)


class _CompoundFile(_OleFile):
    """Refuses to read a stream that is larger than the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._most_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        super().__init__(file)

    def _open(self, start: int, size: int = _UNKNOWN_SIZE, force_FAT: bool = False) -> olefile.olefile.OleStream:
        if size != _UNKNOWN_SIZE and size > self._most_bytes:
            raise OSError(f"a stream of {size:,} bytes is in a file of {self._most_bytes:,}")
        return super()._open(start, size, force_FAT)
