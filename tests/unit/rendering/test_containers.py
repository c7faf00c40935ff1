"""Files within files: what is found in them, what comes out, and what cannot."""

from __future__ import annotations

import base64
import bz2
import gc
import gzip
import io
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import compressed_rtf
import psutil
import pytest
import pyzipper
from pydantic import SecretStr

from pipeline.core.errors import CorruptFile, OutcomeError, SourceChanged, SourceVanished, UnsupportedFormat
from pipeline.core.formats import Envelope, MediaType
from pipeline.core.retry import CancelToken
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.sandbox.containers.mail import open_msg
from pipeline.sources import Containers, SourceCache, SourceFiles, display_path, media_type_of, source_url
from support.compound_files import compound_file, outlook_message
from support.containers import carrying, mail, page, seven_zipped, tarred, zipped
from support.conversions import CONVERTER
from support.rendering import LIMITS, drawn_pdf, sandboxes

A, B = page("a"), page("b")


class Shelf:
    """A folder of containers, and a way into them."""

    def __init__(self, folder: Path, pool: SandboxPool, *passwords: str, cache_bytes: int = 1 << 28) -> None:
        self.folder = folder
        cache = SourceCache(folder / "cache", cache_bytes)
        self.opener = Opener(pool, Passwords(general=tuple(map(SecretStr, passwords))), CONVERTER)
        self.files = SourceFiles(cache, 1 << 30, CancelToken(), Containers(self.opener, cache, 3))

    def put(self, name: str, data: bytes) -> str:
        """Write a file; return its URL."""
        path = self.folder / name
        path.write_bytes(data)
        return source_url(path)

    def listed(self, url: str) -> dict[str, str | None]:
        """The members of a container by their shown path below it, each with the code of its error."""
        found = self.files.members(url, self.files.state(url))
        start = len(display_path(url)) + 1
        return {display_path(one.url)[start:]: one.error.code if one.error else None for one in found}

    def taken(self, url: str) -> dict[str, bytes | str]:
        """What comes out of a container: bytes, or the code of an error, of members of members as well."""
        found: dict[str, bytes | str] = {}
        for one in self.files.members(url, self.files.state(url)):
            name = display_path(one.url).removeprefix(f"{self.folder}/")
            try:
                if one.error:
                    raise one.error
                state = self.files.state(one.url)
                with self.files.open(one.url, state) as file:
                    data = file.read()
                    assert len(data) == state.bytes
                    kind = self.opener.refine(file, media_type_of(data[:8192]), CancelToken())
            except OutcomeError as error:
                found[name] = error.code
                continue
            found[name] = data
            if kind.route == "container":
                found |= self.taken(one.url)
        return found


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(2, replace(LIMITS, max_members=50))
    yield pool
    pool.close()


@pytest.fixture
def shelf(tmp_path: Path, pool: SandboxPool) -> Shelf:
    return Shelf(tmp_path, pool)


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_members_come_out_of_every_kind_of_container(shelf: Shelf) -> None:
    both = {"letters/a.pdf": A, "b.pdf": B}
    made = {
        "box.zip": zipped(both),
        "box.tar": tarred(both, mode="w"),
        "box.tgz": tarred(both),
        "box.tar.bz2": tarred(both, mode="w:bz2"),
        "box.tar.xz": tarred(both, mode="w:xz"),
        "box.7z": seven_zipped(both),
    }
    for name, data in made.items():
        assert shelf.taken(shelf.put(name, data)) == {f"{name}/letters/a.pdf": A, f"{name}/b.pdf": B}, name
    named = io.BytesIO()
    with gzip.GzipFile("scan.pdf", "w", fileobj=named) as file:
        file.write(A)
    assert shelf.taken(shelf.put("a.gz", named.getvalue())) == {"a.gz/scan.pdf": A}
    for name, data in {"a.bz2": bz2.compress(A), "a.xz": lzma.compress(A)}.items():
        assert shelf.taken(shelf.put(name, data)) == {f"{name}/content": A}
    assert shelf.taken(shelf.put("shelf.pdf", carrying(A, {"b.pdf": B, "../up.pdf": A}))) == {
        "shelf.pdf/b.pdf": B,
        "shelf.pdf/up.pdf": A,
    }


def test_a_zip_in_a_mail_in_a_zip_is_gone_into_and_no_deeper(shelf: Shelf) -> None:
    inner = zipped({"a.pdf": A, "deeper.zip": zipped({"b.pdf": B})})
    letter = mail("box", "see the box", {"inner.zip": inner})
    url = shelf.put("box.zip", zipped({"post/letter.eml": letter}))
    taken = shelf.taken(url)
    assert taken["box.zip/post/letter.eml/inner.zip/a.pdf"] == A
    assert taken["box.zip/post/letter.eml/inner.zip/deeper.zip/b.pdf"] == "limit"
    assert b"see the box" in taken["box.zip/post/letter.eml/message.html"]


def test_what_a_mail_says_is_a_page_and_what_it_carries_lies_beside_it(shelf: Shelf) -> None:
    forwarded = outlook_message("inner", "inner words", {"deep.pdf": A}, inner=True)
    packed = compressed_rtf.compress(b"{\\rtf1 rich words}")
    letters = {
        "plain.eml": mail("Größe <1>", "one & two\nlines", {"a.pdf": A, "a (2).pdf": B}),
        "rich.eml": mail("rich", "plain words", html='<html><meta charset="latin1"><p>rich wörds</p></html>'),
        "note.msg": compound_file(outlook_message("Größe <1>", "one & two\nlines", {"a.pdf": A, "fwd": forwarded})),
        "rtf.msg": compound_file(outlook_message("only rich", None, {}, rich=packed)),
    }
    taken = {
        name: data for file, letter in letters.items() for name, data in shelf.taken(shelf.put(file, letter)).items()
    }
    for file in ("plain.eml", "note.msg"):
        said = taken[f"{file}/message.html"].decode()
        for words in (
            "Größe &lt;1&gt;",
            "one &amp; two<br>lines",
            "post@example.org",
            "Tue, 24 Nov 2026 10:00:00 +0000",
        ):
            assert words in said
        assert taken[f"{file}/a.pdf"] == A
    assert taken["plain.eml/a (2).pdf"] == B
    said = taken["rich.eml/message.html"].decode()
    assert "rich wörds" in said
    assert "plain words" not in said
    assert "latin1" not in said
    assert taken["note.msg/fwd/deep.pdf"] == A
    assert b"inner words" in taken["note.msg/fwd/message.html"]
    assert taken["rtf.msg/message.rtf"] == b"{\\rtf1 rich words}"


def test_names_lead_nowhere_else_and_none_is_lost(shelf: Shelf) -> None:
    names = ["../../etc/a.pdf", "/abs.pdf", "C:\\x\\..\\back.pdf", "same.pdf", "same.pdf", "same (2).pdf", "é#?%.pdf"]
    names += ["line\nbreak.pdf", "..", "x" * 400 + ".pdf", "__MACOSX/._same.pdf", "deep/.DS_Store", "folder/"]
    listed = shelf.listed(shelf.put("box.zip", zipped([(name, A) for name in names])))
    assert list(listed)[:9] == [
        "etc/a.pdf",
        "abs.pdf",
        "C:/x/back.pdf",
        "same.pdf",
        "same (2).pdf",
        "same (2) (2).pdf",
        "é#?%.pdf",
        "line break.pdf",
        "unnamed",
    ]
    assert len(listed) == 10
    assert len(list(listed)[9]) == 250
    assert set(listed.values()) == {None}
    tar = tarred(
        {"ok.pdf": A}, link("soft", tarfile.SYMTYPE), link("hard", tarfile.LNKTYPE), link("dev", tarfile.CHRTYPE)
    )
    assert shelf.listed(shelf.put("box.tgz", tar)) == {
        "ok.pdf": None,
        "soft": "outside_link",
        "hard": "outside_link",
        "dev": "unsupported",
    }


def test_a_member_is_its_own_trouble_only(shelf: Shelf) -> None:
    data = bytearray(zipped({"a.pdf": A, "torn.pdf": B, "note.txt": b"words", "empty.pdf": b"", "last.pdf": B}))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        torn = archive.getinfo("torn.pdf")
    data[torn.header_offset + 60 : torn.header_offset + 90] = bytes(30)
    assert shelf.taken(shelf.put("box.zip", bytes(data))) == {
        "box.zip/a.pdf": A,
        "box.zip/torn.pdf": "corrupt",
        "box.zip/note.txt": "unsupported",
        "box.zip/empty.pdf": "empty",
        "box.zip/last.pdf": B,
    }


def test_an_encrypted_member_wants_a_password_that_fits(tmp_path: Path, pool: SandboxPool) -> None:
    aes = io.BytesIO()
    with pyzipper.AESZipFile(aes, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"sesame")
        archive.writestr("a.pdf", A)
    made = {
        "aes.zip": aes.getvalue(),
        "box.7z": seven_zipped({"a.pdf": A}, "sesame"),
        "hidden.7z": seven_zipped({"a.pdf": A}, "sesame", hide_names=True),
    }
    for passwords, expected in ((("open", "sesame"), A), (("open",), "encrypted")):
        folder = tmp_path / "-".join(("with", *passwords))
        folder.mkdir()
        shelf = Shelf(folder, pool, *passwords)
        for name, data in made.items():
            (outcome,) = shelf.taken(shelf.put(name, data)).values()
            assert outcome == expected, (name, passwords)


def bombs() -> dict[str, bytes]:
    """What would be gigabytes, out of kilobytes."""
    zeros = bytes(70 << 20)
    nested = zipped({"0.zip": zipped({f"{number}.bin": zeros[: 35 << 20] for number in range(2)})})
    sparse = tarfile.TarInfo("huge.pdf")
    sparse.size = 100 << 30
    return {
        "one.zip": zipped({"zeros.bmp": zeros}),
        "nested.zip": nested,
        "zeros.gz": gzip.compress(zeros),
        "zeros.tgz": tarred({"zeros.bmp": zeros}),
        "zeros.7z": seven_zipped({"zeros.bmp": zeros}),
        "claims.tar": sparse.tobuf() + bytes(1024),
        "crowd.zip": zipped({f"{number}.pdf": b"%PDF-1.4" for number in range(51)}),
    }


def test_bombs_end_at_a_limit_and_cost_no_memory(shelf: Shelf) -> None:
    outcomes = {}
    before = psutil.Process().memory_info().rss  # of which other tests have their share
    for name, data in bombs().items():
        url = shelf.put(name, data)
        outcomes[name] = {*shelf.listed(url).values()} | {
            outcome for outcome in shelf.taken(url).values() if isinstance(outcome, str)
        }
    assert outcomes == {name: {"limit"} for name in outcomes} | {"nested.zip": {None, "limit"}}
    assert max(sandbox.memory_info().rss for sandbox in sandboxes()) < 300 << 20
    assert psutil.Process().memory_info().rss - before < 400 << 20


def test_damaged_containers_are_named_at_once(shelf: Shelf) -> None:
    whole = {
        "a.zip": zipped({"a.pdf": A}),
        "a.7z": seven_zipped({"a.pdf": A}),
        "a.tgz": tarred({"a.pdf": A}),
        "a.msg": compound_file(outlook_message("x", "y", {"a.pdf": A})),
    }
    for name, data in whole.items():
        assert set(shelf.taken(shelf.put(name, data[: len(data) // 2])).values()) <= {"corrupt"}, name


@pytest.mark.parametrize("make", [zipped, tarred, seven_zipped], ids=["zip", "tgz", "7z"])
def test_a_container_is_gone_through_once_for_all_its_members(
    tmp_path: Path, pool: SandboxPool, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    shelf = Shelf(tmp_path, pool)
    url = shelf.put("box", make({f"{number:02}.png": b"\x89PNG\r\n\x1a\n" + os.urandom(1000) for number in range(50)}))
    passes = 0
    extract = Opener.extract

    def counted(opener: Opener, *arguments: object) -> object:
        nonlocal passes
        passes += 1
        return extract(opener, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Opener, "extract", counted)
        assert len(shelf.taken(url)) == 50
        assert passes == 1


def test_a_small_cache_costs_passes_and_no_member(tmp_path: Path, pool: SandboxPool) -> None:
    members = {f"{number:02}.png": b"\x89PNG\r\n\x1a\n" + os.urandom(9000) for number in range(20)}
    shelf = Shelf(tmp_path, pool, cache_bytes=100_000)
    for _ in range(2):
        taken = shelf.taken(shelf.put("box.tgz", tarred(members)))
        assert {name.removeprefix("box.tgz/"): data for name, data in taken.items()} == members


def test_a_member_goes_with_its_container(shelf: Shelf) -> None:
    url = shelf.put("box.zip", zipped({"a.pdf": A, "b.pdf": B}))
    (first, second) = shelf.files.members(url, shelf.files.state(url))
    state = shelf.files.state(first.url)
    shelf.put("box.zip", zipped({"a.pdf": B}))
    assert shelf.files.state(first.url) != state
    assert (shelf.files.is_gone(first.url), shelf.files.is_gone(second.url)) == (False, True)
    with pytest.raises(SourceChanged):
        shelf.files.open_document(first.url, state, "0" * 64)
    shelf.put("box.zip", b"no archive any more")
    assert shelf.files.is_gone(first.url)
    (shelf.folder / "box.zip").unlink()
    with pytest.raises(SourceVanished):
        shelf.files.state(first.url)


def inside(pool: SandboxPool, tmp_path: Path, data: bytes) -> MediaType | str:
    """What a file is once one has looked into it; an error by its words."""
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        try:
            return Opener(pool, Passwords(), CONVERTER).refine(file, media_type_of(data[:8192]), CancelToken())
        except UnsupportedFormat as error:
            return str(error)


MAIN = "application/vnd.openxmlformats-officedocument."


def office(main_type: str) -> bytes:
    return zipped({"[Content_Types].xml": f'<Override ContentType="{main_type}"/>'.encode(), "x.xml": b"<x/>"})


def test_what_head_cannot_tell_is_told_by_the_inside(pool: SandboxPool, tmp_path: Path) -> None:
    odf = "application/vnd.oasis.opendocument."
    kinds: list[tuple[bytes, MediaType | str]] = [
        (office(MAIN + "presentationml.presentation.main+xml"), MediaType.PPTX),
        (office(MAIN + "presentationml.slideshow.main+xml"), MediaType.PPTX),
        (office("application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml"), MediaType.PPTX),
        (office("application/vnd.ms-powerpoint.template.macroEnabled.main+xml"), MediaType.PPTX),
        (office(MAIN + "wordprocessingml.template.main+xml"), MediaType.DOCX),
        (office("application/vnd.ms-word.template.macroEnabledTemplate.main+xml"), MediaType.DOCX),
        (office(MAIN + "spreadsheetml.sheet.main+xml"), MediaType.XLSX),
        (office("application/vnd.ms-excel.sheet.binary.macroEnabled.main"), MediaType.XLSX),
        (office("application/vnd.ms-visio.drawing.main+xml"), "Visio"),
        (zipped({"[Content_Types].xml": b"?", "word/document.xml": b"<x/>"}), MediaType.DOCX),
        (zipped({"mimetype": f"{odf}text".encode()}), MediaType.ODT),
        (zipped({"mimetype": f"{odf}presentation-template".encode()}), MediaType.ODP),
        (zipped({"mimetype": f"{odf}formula".encode()}), "formula"),
        (zipped({"META-INF/manifest.xml": f'media-type="{odf}graphics"'.encode()}), MediaType.ODG),
        (zipped({"mimetype": b"application/epub+zip"}), "epub"),
        (zipped({"index.apxl": b"<key:presentation"}), MediaType.KEYNOTE),
        (zipped({"Index/Document.iwa": b"\0\0\0\0\x08\x01", "Index/Slide.iwa": b""}), MediaType.KEYNOTE),
        (zipped({"Index/Document.iwa": b"\0\0\0\0\x08\x90\x4e"}), MediaType.PAGES),
        (zipped({"Index/Document.iwa": b"\0\0\0\0\x08\x01"}), MediaType.NUMBERS),
        (zipped({"META-INF/MANIFEST.MF": b"", "A.class": b""}), "Java"),
        (zipped({"scan.pdf": A}), MediaType.ZIP),
        (zipped({}), MediaType.ZIP),
        (compound_file({"WordDocument": bytes(5000)}), MediaType.DOC),
        (compound_file({"PowerPoint Document": bytes(10)}), MediaType.PPT),
        (compound_file({"Book": bytes(10)}), MediaType.XLS),
        (compound_file({"EncryptionInfo": b"x", "EncryptedPackage": bytes(9000)}), MediaType.PROTECTED_OOXML),
        (compound_file(outlook_message("x", "y", {})), MediaType.MSG),
        (compound_file({"VisioDocument": bytes(10)}), "Visio"),
        (compound_file({"something": bytes(10)}), "no known kind"),
        (gzip.compress(A), MediaType.GZIP),
        (bz2.compress(A), MediaType.BZIP2),
        (tarred({"a.pdf": A}), MediaType.TAR),
        (tarred({"a.pdf": A}, mode="w:xz"), MediaType.TAR),
    ]
    for data, expected in kinds:
        found = inside(pool, tmp_path, data)
        if isinstance(expected, MediaType):
            assert found is expected
        else:
            assert expected in str(found)


def test_a_container_that_kills_its_sandbox_costs_only_itself(tmp_path: Path) -> None:
    small = SandboxPool(1, replace(LIMITS, memory_mb=300, max_expansion=1e6))
    try:
        shelf = Shelf(tmp_path, small)
        attached = b"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n"
        hungry = b"From: a\nMIME-Version: 1.0\n" + attached + base64.encodebytes(bytes(100 << 20))
        (outcome,) = shelf.taken(shelf.put("hungry.eml", hungry)).values()
        assert outcome == "render_memory"
        assert shelf.taken(shelf.put("box.zip", zipped({"a.pdf": A}))) == {"box.zip/a.pdf": A}
    finally:
        small.close()


def test_a_pdf_keeps_its_pages_where_it_carries_files(shelf: Shelf, pool: SandboxPool) -> None:
    data = carrying(drawn_pdf(lambda paper: paper.drawString(72, 700, "page")), {"a.pdf": A})
    with (shelf.folder / "x").open("w+b") as file:
        file.write(data)
        file.flush()
        with shelf.opener.open(file, "", "x", MediaType.PDF, CancelToken()) as opened:
            assert (opened.pages, opened.members) == (1, 1)
            assert opened.render(1).layer_text == "page"
            assert [member.name for member in opened.list_members()] == ["a.pdf"]


def test_messages_of_outlook_damaged_or_not_leave_no_file_open(tmp_path: Path) -> None:
    """A sandbox that leaks a descriptor a message fails innocent pages after a thousand."""
    path, chance = tmp_path / "a.msg", random.Random(1)
    whole = compound_file(outlook_message("x", "y", {"a.pdf": A}))
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()  # which would close them some time
    try:
        for _ in range(50):
            damaged = bytearray(whole)
            for _ in range(60):
                damaged[chance.randrange(512, len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged)
            with path.open("rb") as file, suppress(OutcomeError):
                open_msg(file.fileno(), LIMITS).close()
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("shift", [0, 10, 24, 30, 63])
def test_a_compound_file_with_impossible_sectors_is_damaged_and_takes_no_memory(
    pool: SandboxPool, tmp_path: Path, shift: int
) -> None:
    data = bytearray(compound_file(outlook_message("x", "y", {"a.pdf": A})))
    data[30:32] = shift.to_bytes(2, "little")
    (tmp_path / "a.msg").write_bytes(data)
    with (tmp_path / "a.msg").open("rb") as file:
        with pytest.raises(CorruptFile, match="impossible size"):
            pool.identify(file, Envelope.CFB)
        with pytest.raises(CorruptFile, match="impossible size"), pool.open(file, MediaType.MSG):
            pass


@pytest.mark.parametrize("size_of", ["the table of small sectors", "the stream of small sectors"])
def test_a_chain_of_sectors_that_is_a_circle_is_damaged_and_takes_no_memory(
    pool: SandboxPool, tmp_path: Path, size_of: str
) -> None:
    """The header or the root's entry names 4 GiB, which a file of 4 kB does not hold."""
    data = bytearray(compound_file(outlook_message("x", "y", {"a.pdf": A})))
    directory, fat = (512 * (1 + int.from_bytes(data[at : at + 4], "little")) for at in (48, 76))
    start_at, size_at = (60, 64) if "table" in size_of else (directory + 116, directory + 120)
    start = data[start_at : start_at + 4]
    data[size_at : size_at + 4] = (1 << 23 if "table" in size_of else 0x7FFFFFF0).to_bytes(4, "little")
    next_at = fat + 4 * int.from_bytes(start, "little")
    data[next_at : next_at + 4] = start
    (tmp_path / "a.msg").write_bytes(data)
    with (
        (tmp_path / "a.msg").open("rb") as file,
        pytest.raises(CorruptFile, match="is in a file of"),
        pool.open(file, MediaType.MSG),
    ):
        pass
