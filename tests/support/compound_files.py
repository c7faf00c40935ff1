"""Compound files (MS-CFB, version 3) made by hand: Outlook's messages, and shells of old office files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime

SECTOR, MINI_SECTOR, MINI_BELOW = 512, 64, 4096
END, FREE, FAT_SECTOR, NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF
ENTRIES_PER_SECTOR = SECTOR // 4

Storage = Mapping[str, "bytes | Storage"]


class _Entry:
    def __init__(self, name: str, content: bytes | Storage, kind: int) -> None:
        self.name, self.content, self.kind = name, content, kind
        self.right = self.child = NONE
        self.start, self.size = END, 0

    def packed(self) -> bytes:
        name = self.name.encode("utf-16-le")
        head = name.ljust(64, b"\0") + struct.pack("<HBB", len(name) + 2, self.kind, 1)
        links = struct.pack("<III", NONE, self.right, self.child)
        return head + links + bytes(16 + 4 + 16) + struct.pack("<IQ", self.start, self.size)


def compound_file(root: Storage) -> bytes:
    """A file that holds these streams, and storages of them."""
    entries = [_Entry("Root Entry", root, 5)]
    _add_children(entries, entries[0])
    sectors: list[bytes] = []
    fat: list[int] = []
    mini, mini_fat = b"", []
    for entry in entries[1:]:
        if isinstance(entry.content, bytes) and entry.content:
            entry.size = len(entry.content)
            if entry.size < MINI_BELOW:
                entry.start = len(mini_fat)
                count = -(-entry.size // MINI_SECTOR)
                mini_fat += [*range(entry.start + 1, entry.start + count), END]
                mini += entry.content.ljust(count * MINI_SECTOR, b"\0")
            else:
                entry.start = _add(entry.content, sectors, fat)
    entries[0].start, entries[0].size = (_add(mini, sectors, fat), len(mini)) if mini else (END, 0)
    mini_table = b"".join(struct.pack("<I", number) for number in mini_fat)
    mini_start = _add(mini_table, sectors, fat, b"\xff") if mini_table else END
    directory = _add(b"".join(entry.packed() for entry in entries), sectors, fat)
    fat_sectors = 1
    while (len(sectors) + fat_sectors) > fat_sectors * ENTRIES_PER_SECTOR:
        fat_sectors += 1
    first = len(sectors)
    fat += [FAT_SECTOR] * fat_sectors
    fat += [FREE] * (fat_sectors * ENTRIES_PER_SECTOR - len(fat))
    table = struct.pack(f"<{len(fat)}I", *fat)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, fat_sectors, directory, 0, MINI_BELOW, mini_start, bool(mini_fat), END, 0)
    places = [first + number for number in range(fat_sectors)] + [FREE] * (109 - fat_sectors)
    return header + struct.pack("<109I", *places) + b"".join(sectors) + table


def _add_children(entries: list[_Entry], parent: _Entry) -> None:
    assert not isinstance(parent.content, bytes)
    before: _Entry | None = None
    children = []
    for name in sorted(parent.content, key=lambda name: (len(name), name.upper())):
        content = parent.content[name]
        entry = _Entry(name, content, 2 if isinstance(content, bytes) else 1)
        if before is None:
            parent.child = len(entries)
        else:
            before.right = len(entries)
        entries.append(entry)
        children.append(entry)
        before = entry
    for entry in children:
        if not isinstance(entry.content, bytes):
            _add_children(entries, entry)


def _add(data: bytes, sectors: list[bytes], fat: list[int], fill: bytes = b"\0") -> int:
    start = len(sectors)
    count = -(-len(data) // SECTOR)
    padded = data.ljust(count * SECTOR, fill)
    sectors += [padded[at : at + SECTOR] for at in range(0, len(padded), SECTOR)]
    fat += [*range(start + 1, start + count), END]
    return start


def outlook_message(
    subject: str,
    body: str | None,
    attachments: Mapping[str, bytes | Storage],
    *,
    html: bytes | None = None,
    rich: bytes | None = None,
    inner: bool = False,
) -> Storage:
    """A message as Outlook stores it (MS-OXMSG); an attachment that is a storage is a message within it."""
    sent = int((datetime(2026, 11, 24, 10, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10**7
    fixed = struct.pack("<HHIQ", 0x0040, 0x0039, 6, sent) + struct.pack("<HHIQ", 0x0003, 0x3FDE, 6, 65001)
    storage: dict[str, bytes | Storage] = {
        "__properties_version1.0": bytes(24 if inner else 32) + fixed,
        "__substg1.0_0037001F": subject.encode("utf-16-le"),
        "__substg1.0_0C1A001F": "Post Room".encode("utf-16-le"),
        "__substg1.0_5D01001F": "post@example.org".encode("utf-16-le"),
        "__substg1.0_0E04001F": "Reader".encode("utf-16-le"),
    }
    if body is not None:
        storage["__substg1.0_1000001F"] = body.encode("utf-16-le")
    if html is not None:
        storage["__substg1.0_10130102"] = html
    if rich is not None:
        storage["__substg1.0_10090102"] = rich
    for number, (name, content) in enumerate(attachments.items()):
        kind = "0102" if isinstance(content, bytes) else "000D"
        storage[f"__attach_version1.0_#{number:08X}"] = {
            "__properties_version1.0": bytes(8),
            "__substg1.0_3707001F": name.encode("utf-16-le"),
            f"__substg1.0_3701{kind}": content,
        }
    return storage
