"""Which page takes the answers of another: a real archive in a folder, page images compared in a real sandbox."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont

from pipeline.archive import Archive, Store, image_stem
from pipeline.archive.looks import MAX_DISTANCE
from pipeline.batches.lifecycle import begin_batch
from pipeline.core.models import (
    Answer,
    LayerState,
    PageKind,
    PageStatus,
    Reading,
    RenderedPage,
    TextSource,
    Trust,
)
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.documents.passwords import Passwords
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.pages.readings import twin_reading
from pipeline.pages.recipe import Recipe
from pipeline.pages.twins import MAX_CANDIDATES, Twins
from pipeline.projection.records import page_id
from pipeline.rendering.host.pool import SandboxPool
from pipeline.services import render_limits
from support.memory_index import MemoryIndex
from support.readings import full_reading
from support.vision import rendered_page

RECIPE = Recipe("en", "jina-vlm", "1", "standard", "abc", 1, "", Passwords(), twin_distance=3)
FIRST, SECOND = "a" * 64, "b" * 64
SIZE = (600, 800)
HASH = "0123456789abcdef"
FONT = ImageFont.load_default(14)


def form(words: str = "forty-two crates of granite") -> Image.Image:
    """A letterhead, lines that every such form has, and words of its own."""
    page = Image.new("RGB", SIZE, "#f4f1e8")
    draw = ImageDraw.Draw(page)
    draw.text((60, 50), "HARBOUR OFFICE, DELIVERY NOTE", "black", ImageFont.load_default(24))
    for row in range(12):
        draw.text((60, 120 + 40 * row), f"{row + 1}. as agreed upon, by ship or by rail", "black", FONT)
    draw.text((60, 640), f"Delivered: {words}", "black", FONT)
    return page


def grainy(picture: Image.Image) -> Image.Image:
    """The same page, scanned once more in the same place."""
    grain = Image.effect_noise(picture.size, 8)
    return ImageChops.add(picture, Image.merge("RGB", [grain] * 3), offset=-128)


def jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[SandboxPool]:
    with closing(SandboxPool(1, render_limits(Settings()))) as pool:
        yield pool


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


@pytest.fixture
def twins(archive: Archive, sandboxes: SandboxPool) -> Twins:
    return Twins(archive, sandboxes, distance=3)


def page(picture: Image.Image, phash: str = HASH, **facts: object) -> RenderedPage:
    """A page as the sandbox hands it over."""
    base = rendered_page(random.Random(picture.tobytes()).randrange(2**16))
    shown = replace(base, jpeg=jpeg(picture), width_px=picture.width, height_px=picture.height, phash=phash)
    return replace(shown, facts=replace(base.facts, **facts))


def reading(archive: Archive, shown: RenderedPage, document: str, **more: object) -> Reading:
    """What is known of a page before anyone is asked, its image archived."""
    model = full_reading()
    stem = image_stem(1, 1, shown.pixels_sha256)
    key, thumbnail_key = archive.save_image(document, stem, shown.jpeg, b"")
    assert model.image is not None
    image = model.image.model_copy(
        update={
            "width": shown.width_px,
            "height": shown.height_px,
            "sha256": shown.pixels_sha256,
            "phash": shown.phash,
            "key": key,
            "thumbnail_key": thumbnail_key,
        }
    )
    update = {
        "document": model.document.model_copy(update={"id": document, "path": (f"/in/{document[0]}.png",)}),
        "page_number": 1,
        "page_kind": PageKind.SCANNED,
        "fingerprint": RECIPE.fingerprint(document, 1),
        "error": None,
        "layer_text": None,
        "image": image,
        "trust": Trust(),
        "model": None,
    }
    return model.model_copy(update=update | more)


def asked(archive: Archive, shown: RenderedPage, document: str = FIRST, **more: object) -> Reading:
    """The reading of a page that the model has read."""
    model = full_reading().model
    assert model is not None
    own: dict[str, object] = {
        "trust": Trust(text_source=TextSource.MODEL, repetition=0.1),
        "model": model.model_copy(update={"twin": None}),
    }
    return reading(archive, shown, document, **{**own, **more})


def save(archive: Archive, *readings: Reading) -> None:
    """Archive readings as they are."""
    for one in readings:
        archive.append_reading(one.collection, one.document.id, one.page_number, None, lambda _, one=one: one)


def offer(twins: Twins, *readings: Reading) -> None:
    """Archive readings as the recipe does."""
    for one in readings:
        twins.offer(one)
        save(twins.archive, one)


def found(twins: Twins, shown: RenderedPage, document: str = SECOND, **more: object) -> Reading | None:
    known = reading(twins.archive, shown, document, **more)
    return twins.find(shown, known, RECIPE, CancelToken())


def test_the_same_scan_saved_once_more_takes_the_answers_and_says_so(archive: Archive, twins: Twins) -> None:
    first = asked(archive, page(form()))
    offer(twins, first)
    again = page(grainy(form()))
    known = reading(archive, again, SECOND)
    twin = twins.find(again, known, RECIPE, CancelToken())

    assert twin == first
    taken = twin_reading(known, first, RECIPE)
    assert taken.is_by_twin
    assert taken.model is not None
    assert taken.model.twin == page_id("works", FIRST, 1)
    assert (taken.description, taken.text, taken.values) == (first.description, first.text, first.values)
    assert (taken.trust, taken.status, taken.answers) == (first.trust, PageStatus.DESCRIBED, known.answers)
    assert (taken.document, taken.image) == (known.document, known.image)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(form("forty-two crates of marble"), id="a word"),
        pytest.param(form("forty-two crates of  granite"), id="words a little further on"),
        pytest.param(form("43 crates of granite"), id="many words"),
        pytest.param(ImageChops.offset(form(), 1, 0), id="the sheet lay a pixel further"),
        pytest.param(form().resize((601, 800)), id="another size"),
    ],
)
def test_a_form_with_other_words_is_asked_about(archive: Archive, twins: Twins, other: Image.Image) -> None:
    offer(twins, asked(archive, page(form())))

    assert found(twins, page(other)) is None


@pytest.mark.parametrize("digits", [("1840", "1846"), ("3", "8"), ("17.50", "11.50")])
def test_another_digit_is_seen(archive: Archive, twins: Twins, digits: tuple[str, str]) -> None:
    here, there = (form(f"{number} crates") for number in digits)
    offer(twins, asked(archive, page(here)))

    assert found(twins, page(grainy(there))) is None
    assert found(twins, page(grainy(here))) is not None


LAYER = "Delivered: forty-two crates"


@pytest.mark.parametrize(
    ("first", "second", "is_twin"),
    [
        pytest.param({}, {}, True, id="alike"),
        pytest.param({"layer_text": LAYER}, {"layer_text": "Delivered:\nforty-two  crates"}, True, id="one layer"),
        pytest.param({"layer_text": LAYER}, {"layer_text": "Delivered: forty-two crate"}, False, id="other words"),
        pytest.param({"layer_text": LAYER}, {}, False, id="a layer and none"),
        pytest.param(
            {},
            {"layer_text": LAYER, "trust": Trust(reasons=("layer_invisible",))},
            True,
            id="a layer that is no evidence",
        ),
        pytest.param({}, {"page_kind": PageKind.MIXED}, False, id="another kind"),
        pytest.param({}, {"trust": Trust(suspect=True, reasons=("xfa_placeholder",))}, False, id="doubtful itself"),
        pytest.param({}, {"collection": "letters"}, False, id="another collection"),
        pytest.param({"trust": Trust(suspect=True)}, {}, False, id="a suspect one"),
        pytest.param({"trust": Trust(text_source=TextSource.LAYER)}, {}, False, id="the layer stood for it"),
        pytest.param({"trust": Trust(text_source=TextSource.OCR)}, {}, False, id="OCR stood for it"),
        pytest.param({"status": PageStatus.TEXT_ONLY}, {}, False, id="no model read it"),
        pytest.param({"status": PageStatus.FAILED}, {}, False, id="a failed one"),
        pytest.param({"fingerprint": "of another recipe"}, {}, False, id="another recipe"),
    ],
)
def test_what_pages_must_have_in_common(
    archive: Archive, twins: Twins, first: dict[str, object], second: dict[str, object], is_twin: bool
) -> None:
    one = asked(archive, page(form()), **first)
    assert one.image is not None
    archive.looks.note("works", FIRST, 1, one.image)  # as if it had been of use once
    save(archive, one)

    assert (found(twins, page(grainy(form())), **second) is not None) is is_twin


def test_pages_of_the_same_document_are_asked_about(archive: Archive, twins: Twins) -> None:
    offer(twins, asked(archive, page(form())))

    assert found(twins, page(grainy(form())), FIRST, page_number=2) is None


def test_small_print_is_asked_about_unless_a_sound_layer_tells(archive: Archive, twins: Twins) -> None:
    offer(twins, asked(archive, page(form()), layer_text=LAYER))
    offer(twins, asked(archive, page(form()), document="c" * 64))

    assert found(twins, page(grainy(form()), glyph_px=4.0)) is None
    assert found(twins, page(grainy(form()), glyph_px=5.0)) is not None
    sound = page(grainy(form()), glyph_px=4.0, layer=LayerState.SOUND)
    assert found(twins, sound, layer_text=LAYER) is not None


def test_who_took_answers_is_nobodys_twin(archive: Archive, twins: Twins) -> None:
    first = asked(archive, page(form()))
    second = reading(archive, page(grainy(form())), SECOND)
    taken = twin_reading(second, first, RECIPE)
    offer(twins, taken)
    assert archive.looks.near("works", taken.image, 3) == []  # type: ignore[arg-type]
    archive.looks.note("works", SECOND, 1, taken.image)  # type: ignore[arg-type]

    assert found(twins, page(grainy(form())), "c" * 64) is None


def test_equal_pixels_share_their_answers_by_key_as_ever(archive: Archive, twins: Twins) -> None:
    shown = page(form())
    offer(twins, asked(archive, shown))
    key = f"{shown.pixels_sha256}-{'0' * 64}"
    archive.save_answer(Answer(key=key, question="text", model="jina-vlm", content="words", asked_at=datetime.now(UTC)))

    assert found(twins, shown) is None


def test_a_twin_whose_image_is_lost_or_damaged_is_none(archive: Archive, twins: Twins, tmp_path: Path) -> None:
    first = asked(archive, page(form()))
    offer(twins, first)
    assert first.image is not None
    image = tmp_path / first.image.key
    image.write_bytes(image.read_bytes()[:400])
    assert found(twins, page(grainy(form()))) is None
    image.unlink()
    assert found(twins, page(grainy(form()))) is None


def test_a_writer_that_was_killed_before_its_reading_was_archived_has_left_nothing_to_take(
    archive: Archive, twins: Twins
) -> None:
    first = asked(archive, page(form()))
    twins.offer(first)
    assert found(twins, page(grainy(form()))) is None

    save(archive, first)  # whoever goes on where it was
    assert found(twins, page(grainy(form()))) == first


@pytest.mark.parametrize("purge", [False, True])
def test_a_deleted_page_is_nobodys_twin_and_a_purged_one_leaves_nothing(
    archive: Archive, twins: Twins, tmp_path: Path, purge: bool
) -> None:
    begin_batch(archive, "works", None, "en", [])
    first = asked(archive, page(form()))
    offer(twins, first, asked(archive, page(form("other words")), "c" * 64))
    taken = twin_reading(reading(archive, page(grainy(form())), SECOND), first, RECIPE)
    save(archive, taken)
    carry_out(request_deletion(archive, "works", FIRST, purge=purge), MemoryIndex().projector(archive))

    assert found(twins, page(grainy(form())), "e" * 64) is None
    left = {path for folder in ("looks", "alike") for path in tmp_path.glob(f"{folder}/**/*") if path.is_file()}
    assert any(FIRST in str(path) for path in left) is not purge
    assert sum("c" * 64 in str(path) for path in left) == 5
    assert list(archive.readings("works", SECOND)) == [taken]  # what it took stays


def test_the_nearest_are_looked_at_and_no_more_than_a_few(archive: Archive, twins: Twins) -> None:
    near = page(form("other words"), f"{int(HASH, 16) ^ 1:016x}")
    for number in range(MAX_CANDIDATES):
        offer(twins, asked(archive, near, f"{number:064x}"))
    offer(twins, asked(archive, page(form(), f"{int(HASH, 16) ^ 3:016x}")))
    assert found(twins, page(grainy(form()))) is None

    offer(twins, asked(archive, page(form()), "f" * 64))
    twin = found(twins, page(grainy(form())))
    assert twin is not None
    assert twin.document.id == "f" * 64


def test_no_page_within_the_distance_is_missed_and_none_beyond_it_found(archive: Archive) -> None:
    chance = random.Random(1)
    image = full_reading().image
    assert image is not None
    apart: dict[str, int] = {}
    for number in range(100):
        bits = chance.randrange(MAX_DISTANCE + 3)
        changed = int(HASH, 16)
        for place in chance.sample(range(64), bits):
            changed ^= 1 << place
        document = f"{number:064x}"
        apart[document] = bits
        with patch("os.fsync"):  # nothing of it has to outlive a power cut
            archive.looks.note("works", document, 1, image.model_copy(update={"phash": f"{changed:016x}"}))

    for distance in range(MAX_DISTANCE + 1):
        near = archive.looks.near("works", image.model_copy(update={"phash": HASH}), distance)
        assert {document for document, _ in near} == {name for name, bits in apart.items() if bits <= distance}
        assert [apart[document] for document, _ in near] == sorted(apart[document] for document, _ in near)


def test_the_setting_allows_what_can_be_found() -> None:
    assert load({"PAGESIGHT_TWIN_DISTANCE": "3"}) is not None
    (bound,) = [rule.le for rule in Settings.model_fields["twin_distance"].metadata if hasattr(rule, "le")]
    assert bound == MAX_DISTANCE


def test_another_distance_makes_pages_stale_that_took_answers_and_no_others(archive: Archive, twins: Twins) -> None:
    first = asked(archive, page(form()))
    taken = twin_reading(reading(archive, page(grainy(form())), SECOND), first, RECIPE)
    off = replace(RECIPE, twin_distance=0)

    assert (RECIPE.fingerprint_of(taken), RECIPE.fingerprint_of(first)) == (taken.fingerprint, first.fingerprint)
    assert off.fingerprint_of(first) == first.fingerprint
    assert off.fingerprint_of(taken) != taken.fingerprint
