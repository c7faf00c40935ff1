"""Compound files (MS-CFB), which old office files and Outlook's messages are. Runs in the sandbox process."""

from __future__ import annotations

import struct
from typing import BinaryIO

import olefile

from pipeline.core.errors import CorruptFile

#: Offset of the sector shift in the header, and its two values: sectors of 512 and of 4,096 bytes (MS-CFB 2.2).
_SHIFT_OFFSET = 30
_SHIFTS = (9, 12)


def open_compound(file: BinaryIO) -> olefile.OleFileIO[str]:
    """Return the streams of a compound file.

    olefile reads whole sectors of whatever size the header names: 32 GiB at once, from a file of 4 kB.

    Raises:
        CorruptFile: the header names a sector size that no version has.
        OSError, ValueError, IndexError, AttributeError, RecursionError, TypeError: as olefile raises them.
    """
    head = file.read(_SHIFT_OFFSET + 2)
    file.seek(0)
    if len(head) == _SHIFT_OFFSET + 2 and struct.unpack_from("<H", head, _SHIFT_OFFSET)[0] not in _SHIFTS:
        raise CorruptFile("the compound file is damaged: its sectors have an impossible size")
    return olefile.OleFileIO(file)
