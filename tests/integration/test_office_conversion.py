"""Slides, office files, drawings, HTML and DjVu become pages, by the programs that are really installed."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pytest
from PIL import Image
from pydantic import SecretStr

from pipeline.core.child_process import TimeLimit
from pipeline.core.confinement import landlock_version
from pipeline.core.errors import (
    CorruptFile,
    EncryptedFile,
    OutcomeError,
    RenderCrashed,
    RenderOutOfMemory,
    RenderTimeout,
    Stopped,
    UnsupportedFormat,
)
from pipeline.core.formats import MediaType, Route
from pipeline.core.models import Conversion, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.core.signatures import HEAD_BYTES
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.conversion import Converter
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.rendering.conversion import confinement, djvu, office
from pipeline.rendering.conversion.confined import SOCKETS
from pipeline.rendering.host.pool import SandboxPool
from pipeline.sources import media_type_of
from support.conversions import LIMITS, require_programs
from support.corpus import WORDS, corpus_file, manifest
from support.crops import assert_shows_the_page
from support.office_files import Slide, docx, narrow_ods, odp, ods, paragraph, pptx, reaching_out
from support.rendering import LIMITS as RENDER_LIMITS
from support.rendering import pixels, sandboxes

SECRET = "unguessable words of another file"
#: Of the picture that nobody may show.
SECRET_COLOUR = (250, 3, 7)
LARGE = "office/handbook-872p.docx"
#: PowerPoint 97's own encryption is beyond LibreOffice.
UNREADABLE = {"slides/Password_Protected-hello.ppt", "slides/testPPT_protected_passtika.ppt"}


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    word: str
    pages: int = 0
    rendered: tuple[RenderedPage, ...] = ()
    media_type: MediaType | None = None


class Desk:
    """Opens files as registration and ranges do."""

    def __init__(self, pool: SandboxPool, passwords: tuple[str, ...] = (), **limits: Any) -> None:
        self.converter = Converter(replace(LIMITS, **limits), PrioritySemaphore(2))
        self.opener = Opener(pool, Passwords(general=tuple(map(SecretStr, passwords))), self.converter)

    def media_type(self, file: BinaryIO) -> MediaType:
        return self.opener.refine(file, media_type_of(file.read(HEAD_BYTES)), CancelToken())

    def open(self, file: BinaryIO, media_type: MediaType, most: int = 3) -> Outcome:
        with self.opener.open(file, "", "a file", media_type, CancelToken()) as opened:
            pages = tuple(opened.render(number, with_pixels=True) for number in range(1, min(opened.pages, most) + 1))
            return Outcome("ok", opened.pages, pages, media_type)

    def convert(self, data: bytes, media_type: MediaType, cancel: CancelToken | None = None) -> Conversion:
        with in_a_file(data) as file:
            pdf, conversion = self.converter.get("", file, media_type, tuple, cancel or CancelToken())
            pdf.close()
            return conversion

    def pages(self, data: bytes, media_type: MediaType) -> tuple[RenderedPage, ...]:
        with in_a_file(data) as file:
            return self.open(file, media_type).rendered


@contextmanager
def in_a_file(data: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    require_programs()


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(2, replace(RENDER_LIMITS, max_pages=20_000))
    yield pool
    pool.close()


@pytest.fixture
def desk(pool: SandboxPool) -> Desk:
    return Desk(pool)


@pytest.fixture
def workplaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where conversions of this test have their folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_pages_of_slides_are_cut_as_others_are(desk: Desk) -> None:
    data = pptx(Slide("the first slide of harbour and quay"), Slide("the second slide of ropes and anchors"))
    with in_a_file(data) as file, desk.opener.open(file, "", "a file", MediaType.PPTX, CancelToken()) as opened:
        page, crops = opened.render(2, with_pixels=True), opened.render_crops(2, 2)
    assert_shows_the_page(page, crops)
    assert [crop.page_number for crop in crops] == [2, 2]


# -- the corpus


def outcome(pool: SandboxPool, entry: dict[str, Any]) -> Outcome:
    known = tuple(filter(None, (entry.get("password"),)))
    desk = Desk(pool, ("another", *known) if known else ())
    with corpus_file(entry["file"]).open("rb") as file:
        try:
            media_type = desk.media_type(file)
            if media_type.route is not Route.CONVERTED:
                return Outcome("", media_type=media_type)
            return desk.open(file, media_type)
        except OutcomeError as error:
            return Outcome(WORDS.get(error.code, error.code))


def test_every_encrypted_office_file_of_the_corpus_opens_with_its_password(pool: SandboxPool) -> None:
    """What becomes of the others is in the tests of the whole corpus."""
    entries = [entry for entry in manifest() if entry.get("password") and not entry["file"].startswith("pdf/")]
    assert len(entries) > 4
    with ThreadPoolExecutor(2) as threads:
        opened = list(threads.map(lambda entry: outcome(pool, entry), entries))
    found = {entry["file"]: one.word for entry, one in zip(entries, opened, strict=True)}
    assert found == {file: "encrypted" if file in UNREADABLE else "ok" for file in found}
    pages = [(entry["pages"], one.pages) for entry, one in zip(entries, opened, strict=True) if one.word == "ok"]
    assert all(expected in (None, counted) for expected, counted in pages), pages


def dated_slides() -> bytes:
    field = '<a:fld id="{1}" type="datetime1"><a:rPr lang="en-GB"/><a:t>01/02/2003</a:t></a:fld>'
    return with_part(pptx(Slide("Landed on SOON")), "ppt/slides/slide1.xml", "SOON</a:t></a:r>", f"</a:t></a:r>{field}")


def dated_letter() -> bytes:
    field = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>DATE \\@ "yyyy-MM-dd"</w:instrText></w:r>'
    field += '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>2003-02-01</w:t></w:r>'
    return docx(f'<w:p>{field}<w:r><w:fldChar w:fldCharType="end"/></w:r></w:p>')


def with_part(package: bytes, path: str, old: str, new: str) -> bytes:
    """A package in which a text of one part is replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            text = source.read(name)
            assert name != path or old.encode() in text
            target.writestr(name, text.replace(old.encode(), new.encode()) if name == path else text)
    return buffer.getvalue()


@pytest.mark.parametrize(("made", "media_type"), [(dated_slides, MediaType.PPTX), (dated_letter, MediaType.DOCX)])
def test_fields_show_a_date_of_the_document_rather_than_today(
    desk: Desk, made: Callable[[], bytes], media_type: MediaType
) -> None:
    text = desk.pages(made(), media_type)[0].layer_text or ""
    today = datetime.now()
    assert str(today.year) not in text
    assert re.search(r"2000|/00\b", text), text


def djvu_file(folder: Path, *texts: str) -> bytes:
    """A DjVu with a page for each of these hidden texts."""
    pages = []
    for number, text in enumerate(texts, 1):
        page = Image.new("1", (400, 300), 1)
        page.paste(0, (50, 50, 50 + 20 * number, 90))
        page.save(folder / "page.pbm", "PPM")
        pages.append(folder / f"{number}.djvu")
        (folder / "text").write_text(f'(page 0 0 400 300 (word 10 10 200 60 "{text}"))')
        _run("cjb2", folder / "page.pbm", pages[-1])
        _run("djvused", pages[-1], "-s", "-e", f"select 1; set-txt {folder / 'text'}")
    _run("djvm", "-c", folder / "all.djvu", *pages)
    return (folder / "all.djvu").read_bytes()


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=60)


def test_damaged_hidden_texts_of_a_djvu_cost_no_page(desk: Desk, tmp_path: Path) -> None:
    data = bytearray(djvu_file(tmp_path, "one", "two", "three", "four"))
    chunks = [found.end() for found in re.finditer(b"TXTz", data)]
    for chunk in (chunks[1], chunks[3]):
        size = int.from_bytes(data[chunk : chunk + 4], "big")
        data[chunk + 4 : chunk + 4 + size] = bytes(size)
    conversion = desk.convert(bytes(data), MediaType.DJVU)
    assert conversion.pages == 4
    assert {number: text.strip() for number, text in conversion.notes.items()} == {1: "one", 3: "three"}


def test_an_encrypted_file_opens_with_its_password_only(pool: SandboxPool) -> None:
    with corpus_file("office/test-protected.docx").open("rb") as file:
        for passwords in ((), ("wrong",)):
            with pytest.raises(EncryptedFile):
                Desk(pool, passwords).open(file, MediaType.PROTECTED_OOXML)
        with Desk(pool, ("wrong", "david")).opener.open(
            file, "", "a file", MediaType.PROTECTED_OOXML, CancelToken()
        ) as opened:
            assert opened.unlocked


# -- packages and files of one XML


def test_a_package_zipped_with_its_folder_is_the_document_that_it_holds(desk: Desk) -> None:
    """As Finder's "Compress" and mail programs make them: a folder above everything, and files of macOS beside it."""
    plain = corpus_file("slides/testKeynote2013.key")
    inner, boxed = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(plain) as package, zipfile.ZipFile(inner, "w") as index:
        for info in package.infolist():
            index.writestr(info.filename, package.read(info))
    with zipfile.ZipFile(boxed, "w") as archive:
        archive.writestr("Deck.key/", b"")
        archive.writestr("__MACOSX/Deck.key/._Index.zip", b"resource fork")
        archive.writestr("Deck.key/Metadata/BuildVersionHistory.plist", b"<plist/>")
        archive.writestr("Deck.key/Index.zip", inner.getvalue())
    with zipfile.ZipFile(plain) as package, zipfile.ZipFile(wrapped := io.BytesIO(), "w") as archive:
        for info in package.infolist():
            archive.writestr(f"Deck.key/{info.filename}", package.read(info))
    with plain.open("rb") as file:
        expected = [page.layer_text for page in desk.open(file, MediaType.KEYNOTE).rendered]
    for data in (boxed.getvalue(), wrapped.getvalue()):
        with in_a_file(data) as file:
            file.seek(0)
            assert desk.media_type(file) is MediaType.KEYNOTE
        assert [page.layer_text for page in desk.pages(data, MediaType.KEYNOTE)] == expected


@pytest.mark.parametrize("media_type", [MediaType.WORD_2003, MediaType.EXCEL_2003, MediaType.FLAT_ODT])
def test_office_files_of_one_xml_become_pages(desk: Desk, media_type: MediaType) -> None:
    data = {
        MediaType.WORD_2003: '<?mso-application progid="Word.Document"?><w:wordDocument '
        'xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml"><w:body><w:p><w:r><w:t>Kittiwake</w:t></w:r>'
        "</w:p></w:body></w:wordDocument>",
        MediaType.EXCEL_2003: '<?mso-application progid="Excel.Sheet"?><Workbook xmlns:ss="{0}" xmlns="{0}">'
        '<Worksheet ss:Name="s"><Table><Row><Cell><Data ss:Type="String">Kittiwake</Data></Cell></Row></Table>'
        "</Worksheet></Workbook>".format("urn:schemas-microsoft-com:office:spreadsheet"),
        MediaType.FLAT_ODT: '<office:document xmlns:office="{0}:office:1.0" xmlns:text="{0}:text:1.0" '
        'office:version="1.2" office:mimetype="application/vnd.oasis.opendocument.text"><office:body><office:text>'
        "<text:p>Kittiwake</text:p></office:text></office:body></office:document>".format(
            "urn:oasis:names:tc:opendocument:xmlns"
        ),
    }[media_type]
    encoded = f'<?xml version="1.0" encoding="UTF-8"?>\n{data}'.encode()
    with in_a_file(encoded) as file:
        file.seek(0)
        assert desk.media_type(file) is media_type
    assert "Kittiwake" in (desk.pages(encoded, media_type)[0].layer_text or "")


# -- slides, sheets, fonts, drawings


@pytest.mark.parametrize(("made", "media_type"), [(pptx, MediaType.PPTX), (odp, MediaType.ODP)])
def test_a_hidden_slide_is_a_page_at_its_place(desk: Desk, made: Callable[..., bytes], media_type: MediaType) -> None:
    pages = desk.pages(made(Slide("First"), Slide("Second", hidden=True), Slide("Third", "Say it")), media_type)
    assert [page.layer_text for page in pages] == ["First", "Second", "Third"]
    assert [page.notes for page in pages] == [None, None, "Say it"]
    assert [page.hidden for page in pages] == [False, True, False]


def test_a_sheet_is_printed_up_to_a_limit_that_is_told(pool: SandboxPool) -> None:
    whole = Desk(pool).convert(ods(400), MediaType.ODS)
    assert whole.pages > 3
    assert whole.pages_left_out == 0
    cut = Desk(pool, sheet_pages=3).convert(ods(400), MediaType.ODS)
    assert (cut.pages, cut.pages_left_out) == (3, whole.pages - 3)


def test_cells_that_a_sheet_clips_are_shown_whole(desk: Desk) -> None:
    """Numbers and dates as `###`, a text beside a full cell, and one that is wider than paper; a title runs on."""
    long = " ".join(f"remark{number}" for number in range(60))
    rows = [("A title that runs over the empty cells beside it",), ("1234567.25", "2024-03-05", "settled in spring", 1)]
    pages = desk.pages(narrow_ods([*rows, (long, None, "the next cell")]), MediaType.ODS)
    words = " ".join(page.layer_text or "" for page in pages).split()
    for word in ("1234567.25", "2024-03-05", *"A title that runs over settled in spring the next cell".split()):
        assert word in words, word
    assert [word for word in long.split() if word not in words] == []
    assert "###" not in words


def test_fonts_that_are_not_there_are_told(desk: Desk) -> None:
    told = desk.convert(docx(paragraph("words", "Nowhere Grotesk") + paragraph("words", "DejaVu Sans")), MediaType.DOCX)
    assert "Nowhere Grotesk" in told.substituted_fonts
    assert "DejaVu Sans" not in told.substituted_fonts
    assert told.converter.startswith("LibreOffice ")


def test_a_drawing_is_as_large_as_it_says_and_its_bombs_do_not_go_off(pool: SandboxPool, desk: Desk) -> None:
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200"><rect width="200" height="200"/>{}</svg>'
    )
    (page,) = desk.pages(drawing.format("").encode(), MediaType.SVG)
    assert page.width_px == pytest.approx(2 * page.height_px, rel=0.01)
    assert page.facts.ink_share == pytest.approx(0.5, abs=0.02)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE svg [<!ENTITY e0 "ha">{entities}]>' + drawing.format("<text>&e11;</text>")
    with suppress(CorruptFile, RenderOutOfMemory, RenderTimeout):
        Desk(pool, time=TimeLimit(5, 60)).convert(bomb.encode(), MediaType.SVG)


# -- confinement


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything, its URL, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_OPTIONS = do_PROPFIND = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_that_a_document_points_to_is_fetched_or_shown(
    desk: Desk, web: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Settings and Landlock must do, since not every machine lets us have a network namespace.
    monkeypatch.setattr(confinement, "namespaces", tuple)
    if not landlock_version():
        pytest.skip("the kernel has no Landlock")
    url, asked = web
    picture, text = tmp_path / "secret.png", tmp_path / "secret.txt"
    Image.new("RGB", (200, 200), SECRET_COLOUR).save(picture)
    text.write_text(SECRET)
    documents = reaching_out(url, picture.as_uri(), text.as_uri())
    with ThreadPoolExecutor(2) as threads:
        shown = dict(
            zip(documents, threads.map(lambda one: desk.pages(one[1], one[0]), documents.items()), strict=True)
        )
    assert asked == []
    for media_type, pages in shown.items():
        assert pages, media_type
        for page in pages:
            assert SECRET not in (page.layer_text or ""), media_type
            assert not shows(pixels(page), SECRET_COLOUR), media_type


def shows(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    found = image.getcolors(1 << 20) or []
    return any(all(abs(a - b) < 40 for a, b in zip(seen, colour, strict=True)) for _, seen in found)


@contextmanager
def converting(desk: Desk, data: bytes, media_type: MediaType, cancel: CancelToken) -> Iterator[Future[Conversion]]:
    """A conversion that LibreOffice has begun to work on."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(desk.convert, data, media_type, cancel)
        wait_for(lambda: future.done() or offices(psutil.Process()))
        yield future


def offices(process: psutil.Process) -> list[psutil.Process]:
    """The LibreOffices among the descendants of a process."""
    found = []
    for child in process.children(recursive=True):
        try:
            if child.name() == "soffice.bin":
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def sockets_of(folder: str) -> list[Path]:
    """What LibreOffice makes in the folder for sockets when it works in this one."""
    profile = Path(folder, "profile").as_uri().encode("utf-16-le")
    name = "".join(f"{byte:x}" for byte in hashlib.md5(profile).digest())
    return [*SOCKETS.glob(f"OSL_PIPE_*_{Path(folder).name}"), *SOCKETS.glob(f"OSL_PIPE_*_SingleOfficeIPC_{name}")]


def children() -> set[int]:
    """The processes below this one: those of other tests' fixtures as well."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def expect_nothing_left(workplaces: Path, folders: list[str], before: set[int]) -> None:
    assert folders
    wait_for(lambda: not any(workplaces.glob("pagesight-*")))
    assert [path for folder in folders for path in sockets_of(folder)] == []
    assert children() - before - {child.pid for child in sandboxes()} == set()


def crash(program: psutil.Process, cancel: CancelToken) -> None:
    program.send_signal(signal.SIGSEGV)


def hang(program: psutil.Process, cancel: CancelToken) -> None:
    program.suspend()


def stop(program: psutil.Process, cancel: CancelToken) -> None:
    cancel.stop()


def nothing(program: psutil.Process, cancel: CancelToken) -> None:
    pass


@pytest.mark.parametrize(
    ("fault", "error", "isolated"),
    [
        (nothing, None, True),
        (nothing, None, False),
        (crash, RenderCrashed, True),
        (crash, RenderCrashed, False),
        (hang, RenderTimeout, False),
        (stop, Stopped, True),
        (stop, Stopped, False),
    ],
)
def test_however_a_conversion_ends_nothing_is_left(
    pool: SandboxPool,
    workplaces: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[psutil.Process, CancelToken], None],
    error: type[Exception] | None,
    isolated: bool,
) -> None:
    if not isolated:
        monkeypatch.setattr(confinement, "namespaces", tuple)
    before = children()
    desk, cancel = Desk(pool, time=TimeLimit(120, 6 if fault is hang else 120)), CancelToken()
    data = corpus_file(LARGE).read_bytes() if error else odp(Slide("words"))
    with converting(desk, data, MediaType.DOCX if error else MediaType.ODP, cancel) as future:
        folders = list(map(str, workplaces.glob("pagesight-*")))
        for program in offices(psutil.Process()):
            fault(program, cancel)
        raised = future.exception()
    assert type(raised) is (error or type(None)), raised
    expect_nothing_left(workplaces, folders, before)


def test_a_document_that_wants_too_much_memory_is_cut_off(pool: SandboxPool) -> None:
    with pytest.raises(RenderOutOfMemory, match="128 MiB") as raised:
        Desk(pool, memory_mb=128).convert(corpus_file(LARGE).read_bytes(), MediaType.DOCX)
    assert "PAGESIGHT_CONVERSION_MEMORY_MB" in raised.value.remedy


_PARENT = """
import json, sys
from pathlib import Path
from pipeline.core.formats import MediaType
from pipeline.rendering.conversion import confinement, office
from pipeline.core.child_process import TimeLimit
from pipeline.core.retry import CancelToken
if sys.argv[1] == "plain":
    confinement.namespaces = tuple
with open(sys.argv[2], "rb") as file:
    limits = confinement.ConversionLimits(TimeLimit(120, 300), 1024, 200)
    office.convert(file, MediaType.DOCX, ["unguessable"], limits, CancelToken())
"""


@pytest.mark.parametrize("isolation", ["namespaces", "plain"])
def test_a_killed_parent_leaves_nothing_and_passwords_stand_in_no_argument(tmp_path: Path, isolation: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, isolation, str(corpus_file(LARGE))], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    wait_for(lambda: offices(psutil.Process(parent.pid)))
    family = psutil.Process(parent.pid).children(recursive=True)
    folders = list(map(str, tmp_path.glob("pagesight-*")))
    arguments = [argument for child in family for argument in child.cmdline()]
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in family))
    wait_for(lambda: not any(tmp_path.iterdir()))
    assert len(folders) == 1
    assert sockets_of(folders[0]) == []
    assert not any("unguessable" in argument for argument in arguments)


@pytest.mark.parametrize(
    ("find", "media_type", "words"),
    [
        (office.find_office, MediaType.PPTX, ("no LibreOffice", "python3-uno")),
        (djvu.find_tools, MediaType.DJVU, ("no DjVuLibre", "djvulibre-bin")),
    ],
)
def test_a_missing_program_is_named_with_what_to_install(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    find: Any,
    media_type: MediaType,
    words: tuple[str, str],
) -> None:
    find.cache_clear()
    with monkeypatch.context() as context:
        context.setattr(office, "_FOLDERS", ())
        context.setenv("PATH", str(tmp_path))
        with pytest.raises(UnsupportedFormat, match=words[0]) as raised:
            desk.convert(b"", media_type)
    assert words[1] in raised.value.remedy
    assert find()
