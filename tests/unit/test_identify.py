import hashlib
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import (
    EmptyFile,
    LimitExceeded,
    SourceChanged,
    SourceVanished,
    UnsupportedFormat,
)
from pipeline.models import MediaType
from pipeline.sources import file_state, identify, open_unchanged
from pipeline.sources.identify import media_type_of


def picture(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"%PDF-1.7\n", MediaType.PDF),
        (b"\n" * 1000 + b"%PDF-1.4\n", MediaType.PDF),  # readers accept rubbish before the header
        (picture("PNG"), MediaType.PNG),
        (picture("PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]), MediaType.PNG),  # animated
        (picture("JPEG"), MediaType.JPEG),
        (picture("TIFF"), MediaType.TIFF),
        (picture("TIFF", big_tiff=True), MediaType.TIFF),
        (picture("WEBP"), MediaType.WEBP),
        (picture("GIF"), MediaType.GIF),
        (picture("BMP"), MediaType.BMP),
    ],
)
def test_a_format_is_known_by_its_bytes(head: bytes, media_type: MediaType) -> None:
    assert media_type_of(head[:8192]) is media_type


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"PK\x03\x04" + bytes(100), "application/zip"),
        (b"plain text", "no known"),
        (b"\x7fELF" + bytes(100), "executable"),
        (b"\n" * 1030 + b"%PDF-1.4\n", "no known"),
    ],
)
def test_another_format_is_refused_by_name(head: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named):
        media_type_of(head)


def test_a_document_is_its_hash(tmp_path: Path) -> None:
    data = b"%PDF-1.7\n" + os.urandom(3 << 20)
    path = tmp_path / "misnamed.txt"
    path.write_bytes(data)
    state = file_state(path)

    with open_unchanged(path, state) as file:
        found = identify(file, state, max_bytes=10 << 20)
        assert file.tell() == 0

    assert found.document_id == hashlib.sha256(data).hexdigest()
    assert found.media_type is MediaType.PDF


def test_an_empty_file_and_one_above_the_limit_are_outcomes(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty.pdf", tmp_path / "large.pdf"
    empty.write_bytes(b"")
    large.write_bytes(b"%PDF-" + bytes(100))

    with open_unchanged(empty, file_state(empty)) as file, pytest.raises(EmptyFile):
        identify(file, file_state(empty), max_bytes=50)
    with open_unchanged(large, file_state(large)) as file, pytest.raises(LimitExceeded, match=r"105 bytes.*allows 50"):
        identify(file, file_state(large), max_bytes=50)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "growing.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)

    with open_unchanged(path, state) as file:
        with path.open("ab") as more:
            more.write(b"more")
        with pytest.raises(SourceChanged):
            identify(file, state, max_bytes=1 << 20)


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "a.pdf", tmp_path / "b.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)
    other.write_bytes(b"%PDF-1.7")
    other.replace(path)

    with pytest.raises(SourceChanged):
        open_unchanged(path, state)


def test_a_file_that_is_gone_or_became_something_else_is_an_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)
    path.unlink()

    with pytest.raises(SourceVanished):
        open_unchanged(path, state)
    os.mkfifo(path)
    with pytest.raises(UnsupportedFormat):
        open_unchanged(path, state)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnsupportedFormat):
        open_unchanged(path, state)
