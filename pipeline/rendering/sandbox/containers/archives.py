"""Archives and compressed files: their members and the bytes of these. Runs in the sandbox process, without writing.

Members are numbered and extracted in their stored order. In a solid archive or a compressed tar each member costs the
decompression of all members before it, so many members are extracted in one pass.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from pipeline.core.errors import (
    CorruptFile,
    EncryptedFile,
    LimitExceeded,
    LinkOutOfTree,
    OutcomeError,
    UnsupportedFormat,
)
from pipeline.core.formats import MediaType
from pipeline.core.text import without_invisible
from pipeline.rendering.code_pages import ARCHIVE_NAMES, guess
from pipeline.rendering.protocol import EXPANSION_FLOOR_BYTES, RenderLimits
from pipeline.rendering.sandbox.containers.members import Member, Sink
from pipeline.rendering.sandbox.descriptors import reopen

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.page_image.build import DecodedPage
    from pipeline.rendering.sandbox.page_image.crops import DecodedCrop

MAX_NAME_CHARS = 250
_CHUNK_BYTES = 1 << 20
#: Errors of `zipfile` and its decompressors about damaged archives.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
)
TAR_ERRORS = (*ZIP_ERRORS, tarfile.TarError)
#: Decompressors by media type, which a compressed file and its envelope share.
STREAMS: dict[str, Callable[[BinaryIO], IO[bytes]]] = {
    MediaType.GZIP: lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    MediaType.BZIP2: bz2.BZ2File,
    MediaType.XZ: lzma.LZMAFile,
}
_ENCRYPTED = 0x1
_UTF8 = 0x800
_WINZIP_AES = 99
#: The extra field with a name in UTF-8 (APPNOTE 4.6.9).
_UNICODE_PATH = 0x7075
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, _WINZIP_AES)
#: Files that macOS adds: resource forks, and the layout of a folder's window.
_SYSTEM_FILES = re.compile(r"(?:^|/)(?:__MACOSX/|\.DS_Store$)")
_EMPTY_SEGMENTS = ("", ".", "..")


class Container(ABC):
    """An open container."""

    pages = 0
    title: str | None = None

    def __init__(self, listing: Iterable[Member]) -> None:
        self.listing = _unique(listing)

    @property
    def members(self) -> int:
        """Number of files in it."""
        return len(self.listing)

    def render(self, page_number: int) -> DecodedPage:
        """Raise, since it has no pages."""
        raise AssertionError

    def render_crops(self, page_number: int, bands: int) -> tuple[DecodedCrop, ...]:
        """Raise, since it has no pages."""
        raise AssertionError

    def container(self) -> Container:
        """Return itself."""
        return self

    def extract(self, first: int, sink: Sink) -> None:
        """Send the members from number `first` on to the sink, until it declines one.

        Raises:
            CorruptFile, EncryptedFile, UnsupportedFormat: the member that began last cannot be read.
        """
        for index in range(first, self.members):
            if self.listing[index].error is None:
                if not sink.begin(index):
                    return
                with self._open(index) as stream:
                    while data := stream.read(_CHUNK_BYTES):
                        sink.write(data)
                sink.end()

    @abstractmethod
    def close(self) -> None:
        """Free its memory."""

    def _open(self, index: int) -> IO[bytes]:
        raise NotImplementedError


class ZipContainer(Container):
    """A ZIP archive."""

    def __init__(self, descriptor: int, limits: RenderLimits, passwords: Sequence[str]) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: its directory cannot be read.
            LimitExceeded: too many members, or they would expand too much.
        """
        self._file = reopen(descriptor)
        self._archive = open_zip(self._file)
        self._passwords = passwords
        self._errors: tuple[type[Exception], ...] = ZIP_ERRORS
        infos = self._archive.infolist()
        names = [info.filename for info in infos]  # not `is_dir`, which fails on an empty one
        kept = [number for number, name in enumerate(names) if not name.endswith("/") and not _is_system_file(name)]
        require_member_limit(len(kept), limits)
        require_expansion_limit(sum(infos[number].file_size for number in kept), descriptor, limits)
        paths = _zip_names([infos[number] for number in kept])
        super().__init__(_zip_member(infos[number], path) for number, path in zip(kept, paths, strict=True))
        if any(info.compress_type == _WINZIP_AES for info in infos):
            import pyzipper

            self._archive = pyzipper.AESZipFile(self._file)
            self._errors = (*ZIP_ERRORS, pyzipper.BadZipFile)
            infos = self._archive.infolist()
        self._infos = [infos[number] for number in kept]

    def extract(self, first: int, sink: Sink) -> None:
        """Send the members from number `first` on to the sink, until it declines one."""
        with as_corrupt("the member is damaged", self._errors):
            super().extract(first, sink)

    def close(self) -> None:
        """Free its memory."""
        self._archive.close()
        self._file.close()

    def _open(self, index: int) -> IO[bytes]:
        info = self._infos[index]
        if not info.flag_bits & _ENCRYPTED:
            return self._archive.open(info)
        return self._archive.open(info, pwd=self._password_of(info))

    def _password_of(self, info: zipfile.ZipInfo) -> bytes:
        """Return the password that opens a member.

        A check byte rejects most wrong passwords, but passes 1 of 256: if several pass, the whole member is read.
        """
        fitting = [password for password in self._passwords if self._opens(info, password, whole=False)]
        if len(fitting) > 1:
            fitting = [password for password in fitting if self._opens(info, password, whole=True)]
        if not fitting:
            raise EncryptedFile(
                "the member needs another password" if self._passwords else "the member needs a password"
            )
        return fitting[0].encode()

    def _opens(self, info: zipfile.ZipInfo, password: str, *, whole: bool) -> bool:
        try:
            with self._archive.open(info, pwd=password.encode()) as stream:
                while whole and stream.read(_CHUNK_BYTES):
                    pass
        except self._errors:
            return False
        return True


class TarContainer(Container):
    """A tar, compressed or not."""

    def __init__(self, descriptor: int, limits: RenderLimits) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: it is damaged beyond its first member.
            LimitExceeded: too many members, or they would expand too much.
        """
        self._file = reopen(descriptor)
        infos: list[tarfile.TarInfo] = []
        expanded = 0
        with as_corrupt("the tar is damaged", TAR_ERRORS), self._archive() as archive:
            for info in archive:
                if info.isdir() or _is_system_file(info.name):
                    continue
                infos.append(info)
                expanded += info.size if info.isreg() else 0
                require_member_limit(len(infos), limits)
                require_expansion_limit(expanded, descriptor, limits)
        names = _undeclared_names([info.name.encode("utf-8", "surrogateescape") for info in infos])
        super().__init__(_tar_member(info, name) for info, name in zip(infos, names, strict=True))

    def extract(self, first: int, sink: Sink) -> None:
        """Send the members from number `first` on to the sink, until it declines one."""
        with as_corrupt("the member is damaged", TAR_ERRORS), self._archive() as archive:
            wanted = (info for info in archive if not info.isdir() and not _is_system_file(info.name))
            for index, info in enumerate(wanted):
                if index < first or self.listing[index].error is not None:
                    continue
                if not sink.begin(index):
                    return
                stream = archive.extractfile(info)
                assert stream is not None
                while data := stream.read(_CHUNK_BYTES):
                    sink.write(data)
                sink.end()

    def close(self) -> None:
        """Free its memory."""
        self._file.close()

    def _archive(self) -> tarfile.TarFile:
        self._file.seek(0)
        return tarfile.open(fileobj=self._file, encoding="utf-8", errors="surrogateescape")


class CompressedFile(Container):
    """One file, compressed by gzip, bzip2 or xz. Its size is only known after decompression."""

    def __init__(self, descriptor: int, media_type: MediaType, limits: RenderLimits) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: it is damaged.
            LimitExceeded: it would expand too much.
        """
        self._file = reopen(descriptor)
        self._media_type = media_type
        self._file.seek(0)
        name = _gzip_name(self._file.read(_CHUNK_BYTES)) if media_type is MediaType.GZIP else ""
        expanded = 0
        with as_corrupt("the compressed file is damaged", ZIP_ERRORS), self._open(0) as stream:
            while data := stream.read(_CHUNK_BYTES):
                expanded += len(data)
                require_expansion_limit(expanded, descriptor, limits)
        super().__init__([Member(name or "content", expanded)])

    def extract(self, first: int, sink: Sink) -> None:
        """Send the file to the sink."""
        with as_corrupt("the compressed file is damaged", ZIP_ERRORS):
            super().extract(first, sink)

    def close(self) -> None:
        """Free its memory."""
        self._file.close()

    def _open(self, index: int) -> IO[bytes]:
        self._file.seek(0)
        return STREAMS[self._media_type](self._file)


class SevenZipContainer(Container):
    """A 7z archive."""

    def __init__(self, descriptor: int, limits: RenderLimits, passwords: Sequence[str]) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: its directory cannot be read.
            EncryptedFile: its directory needs another password.
            LimitExceeded: too many members, or they would expand too much.
        """
        from pipeline.rendering.sandbox.containers.sevenzip import SevenZip

        self._file = reopen(descriptor)
        self._archive = SevenZip(self._file, passwords)
        self._entries = [entry for entry in self._archive.entries if not _is_system_file(entry.filename)]
        require_member_limit(len(self._entries), limits)
        require_expansion_limit(sum(entry.uncompressed for entry in self._entries), descriptor, limits)
        super().__init__(
            Member(
                member_name(entry.filename),
                entry.uncompressed,
                LinkOutOfTree("a link within an archive is not followed") if entry.is_symlink else None,
            )
            for entry in self._entries
        )

    def extract(self, first: int, sink: Sink) -> None:
        """Send the members from number `first` on to the sink, until it declines one."""
        wanted = [
            (index, entry)
            for index, entry in enumerate(self._entries)
            if index >= first and self.listing[index].error is None
        ]
        self._archive.extract(wanted, sink)

    def close(self) -> None:
        """Free its memory."""
        self._file.close()


def open_archive(descriptor: int, media_type: MediaType, limits: RenderLimits, passwords: Sequence[str]) -> Container:
    """Open an archive or a compressed file.

    Raises:
        CorruptFile, EncryptedFile, LimitExceeded: as its reader raises them.
    """
    if media_type is MediaType.ZIP:
        return ZipContainer(descriptor, limits, passwords)
    if media_type is MediaType.TAR:
        return TarContainer(descriptor, limits)
    if media_type is MediaType.SEVEN_ZIP:
        return SevenZipContainer(descriptor, limits, passwords)
    return CompressedFile(descriptor, media_type, limits)


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Read the directory of a ZIP archive.

    Raises:
        CorruptFile: the directory cannot be read.
    """
    try:
        return zipfile.ZipFile(file)
    except ZIP_ERRORS as error:
        raise CorruptFile(f"the ZIP archive is damaged: {error}"[:200]) from error


@contextmanager
def as_corrupt(what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Translate the errors of libraries about a damaged file.

    Raises:
        CorruptFile: instead of one of `errors`.
    """
    try:
        yield
    except ConnectionError:  # the parent closed the socket
        raise
    except errors as error:
        raise CorruptFile(f"{what}: {error or type(error).__name__}"[:200]) from error


def require_member_limit(members: int, limits: RenderLimits) -> None:
    """Check the number of a container's members.

    Raises:
        LimitExceeded: it exceeds the limit.
    """
    if members > limits.max_members:
        raise LimitExceeded(f"{members} members or more; PAGESIGHT_MAX_MEMBERS allows {limits.max_members}")


def require_expansion_limit(expanded: int, descriptor: int, limits: RenderLimits) -> None:
    """Check the size of a container's members, all together, against the size of the container.

    Raises:
        LimitExceeded: it exceeds the limit.
    """
    size = os.fstat(descriptor).st_size
    if expanded > max(EXPANSION_FLOOR_BYTES, limits.max_expansion * size):
        raise LimitExceeded(
            f"{size} bytes hold {expanded} or more; PAGESIGHT_MAX_EXPANSION allows {limits.max_expansion:g} times it"
        )


def member_name(raw: str) -> str:
    """Return a member's path without segments that lead out of its container, and without control characters."""
    segments = without_invisible(raw.replace("\\", "/")).replace("\n", " ").replace("\t", " ").split("/")
    kept = "/".join(segment for segment in segments if segment.strip() not in _EMPTY_SEGMENTS)
    return kept[-MAX_NAME_CHARS:].lstrip("/") or "unnamed"


def _unique(members: Iterable[Member]) -> list[Member]:
    """Make names unique: of two members `letter.pdf` the second becomes `letter (2).pdf`."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for member in members:
        name = member.name
        stem, dot, suffix = name.rpartition(".")
        if "/" in suffix or not stem:
            stem, dot, suffix = name, "", ""
        while name in taken:
            counts[member.name] = counts.get(member.name, 1) + 1
            name = f"{stem} ({counts[member.name]}){dot}{suffix}"
        taken.add(name)
        found.append(Member(name, member.bytes, member.error))
    return found


def _is_system_file(name: str) -> bool:
    return bool(_SYSTEM_FILES.search(name.replace("\\", "/")))


def _zip_member(info: zipfile.ZipInfo, name: str) -> Member:
    error: OutcomeError | None = None
    if stat.S_ISLNK(info.external_attr >> 16):
        error = LinkOutOfTree("a link within an archive is not followed")
    elif info.compress_type not in _METHODS:
        error = UnsupportedFormat(f"members that are compressed by method {info.compress_type} are not supported")
    return Member(member_name(name), info.file_size, error)


def _zip_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the names of members: by the field for Unicode paths, by the mark of UTF-8, else by all names together.

    Names without either are in UTF-8, or in the code page of the system on which the archive was made.
    """
    declared = [_declared_name(info) for info in infos]
    raw = [
        info.orig_filename.encode("cp437") if name is None else b"" for info, name in zip(infos, declared, strict=True)
    ]
    return [name or read for name, read in zip(declared, _undeclared_names(raw), strict=True)]


def _declared_name(info: zipfile.ZipInfo) -> str | None:
    """Return a name whose encoding the archive states, None for another."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    # A field is outdated if a program that does not know it has renamed the member: then its checksum is another one.
    start = b"\x01" + struct.pack("<L", zlib.crc32(info.orig_filename.encode("cp437")))
    fields = (data for kind, data in _extra_fields(info.extra) if kind == _UNICODE_PATH and data.startswith(start))
    return next((data[len(start) :].decode("utf-8", "replace") for data in fields), None)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields behind a member's name: kind and data (APPNOTE 4.5)."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _undeclared_names(raw: Sequence[bytes]) -> list[str]:
    """Return names without a stated encoding: UTF-8, else one code page for the others of the same archive."""
    read = [_as_utf8(name) for name in raw]
    legacy = [name for name, text in zip(raw, read, strict=True) if text is None]
    encoding = guess(legacy, ARCHIVE_NAMES) if legacy else "utf-8"
    return [name.decode(encoding, "replace") if text is None else text for name, text in zip(raw, read, strict=True)]


def _as_utf8(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _tar_member(info: tarfile.TarInfo, name: str) -> Member:
    error: OutcomeError | None = None
    if info.issym() or info.islnk():
        error = LinkOutOfTree("a link within an archive is not followed")
    elif not info.isreg():
        error = UnsupportedFormat("not a regular file but a pipe or device")
    return Member(member_name(name), 0 if error else info.size, error)


def _gzip_name(head: bytes) -> str:
    """Return the name in a gzip header (RFC 1952, 2.3), "" if there is none."""
    has_extra, has_name = head[3:4] and head[3] & 4, head[3:4] and head[3] & 8
    if not has_name:
        return ""
    start = 12 + int.from_bytes(head[10:12], "little") if has_extra else 10
    name = head[start : start + 1000].partition(b"\0")[0]
    return member_name(_undeclared_names([name])[0])
