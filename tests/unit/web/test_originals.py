"""Original files: sent unchanged as attachments, with their own key, and only where they are switched on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline.archive import Archive, Store, source_id
from pipeline.core.formats import MediaType
from pipeline.core.models import Document, Reading, Source
from pipeline.core.url_signing import Signer, UrlPrefix, page_path
from pipeline.sources import file_state, named_root, source_url
from pipeline.web.originals import download
from support.readings import full_reading
from support.serving import SECRET, served, shelve

BYTES = b"<script>alert(1)</script> of a file"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(BYTES)
    return folder / "a.pdf"


def register(archive: Archive, file: Path) -> Reading:
    """Archive a file's source and the reading of its page."""
    document_id = hashlib.sha256(BYTES).hexdigest()
    root = named_root(source_url(file.parent))
    url = source_url(file)
    document = Document(id=document_id, bytes=len(BYTES), media_type=MediaType.PDF, pages=1)
    reading = shelve(archive, document_id=document_id)
    source = Source(
        revision=1,
        collection=reading.collection,
        url=url,
        path=str(file),
        root=root,
        state=file_state(file, root),
        document=document,
        batch=reading.batch,
        observed_at=reading.archived_at,
    )
    archive.sources(reading.collection)[source_id(url)].advance(None, lambda _: source)
    info = reading.document.model_copy(
        update={"path": (str(file),), "container": (), "bytes": len(BYTES), "name": "Bericht ü\r\n.pdf"}
    )
    changed = reading.model_copy(update={"document": info, "revision": 2})
    archive.readings(reading.collection, document_id).page(1).advance(reading, lambda _: changed)
    return changed


def test_a_file_is_sent_as_an_attachment_to_its_own_key(archive: Archive, file: Path) -> None:
    reading = register(archive, file)
    signer = Signer(SecretStr(SECRET))
    path = page_path(reading.collection, reading.document.id, 1)
    original = signer.signed(UrlPrefix.PAGES, f"{path}/original")
    key_of_page = signer.signed(UrlPrefix.PAGES, path).partition("?")[2]
    with served(archive, secret=SECRET, originals=True) as server:
        answer = server.ask(f"/view/{original}")
        assert f"/view/{original}" in server.ask(f"/view/{path}?{key_of_page}").text
        assert server.ask(f"/view/{path}/original?{key_of_page}").status == 403
        file.unlink()
        gone = server.ask(f"/view/{original}")
    assert (answer.status, answer.body) == (200, BYTES)
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''Bericht%20%C3%BC%0D%0A.pdf"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert gone.status == 404
    assert "cannot be downloaded" in gone.text


def test_no_file_is_sent_where_originals_are_off(archive: Archive, file: Path) -> None:
    reading = register(archive, file)
    path = page_path(reading.collection, reading.document.id, 1)
    with served(archive) as server:
        assert server.ask(f"/view/{path}/original").status == 404
        assert "/original" not in server.ask(f"/view/{path}").text


def test_a_file_with_other_bytes_of_the_same_state_is_not_sent(archive: Archive, file: Path) -> None:
    reading = register(archive, file)
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert download(archive, reading) is None


def test_a_link_out_of_the_root_is_not_followed(archive: Archive, file: Path, tmp_path: Path) -> None:
    reading = register(archive, file)
    file.rename(tmp_path / "moved.pdf")
    file.symlink_to(tmp_path / "moved.pdf")
    assert download(archive, reading) is None


def test_a_path_without_a_source_is_not_opened(archive: Archive, file: Path) -> None:
    reading = full_reading()
    info = reading.document.model_copy(update={"path": (str(file), "bucket/key", "/etc/passwd")})
    assert download(archive, reading.model_copy(update={"document": info})) is None
