"""Keys of URLs: each opens one thing, and records carry them."""

import re

import pytest
from pydantic import SecretStr

from pipeline.archive import image_stem, is_image_key
from pipeline.core.errors import SettingsError
from pipeline.core.settings import load
from pipeline.core.url_signing import KEY_BYTES, Signer, UrlPrefix, page_path
from pipeline.projection.records import page_record, refused_record
from support.readings import FAILURE, NOW, full_reading

SIGNER = Signer(SecretStr("s" * 32))
PATH = page_path("works", "d" * 64, 2)


def key_of(signed: str) -> str:
    return signed.partition("?key=")[2]


def test_a_key_has_128_bits_or_more_and_needs_no_escape_in_a_url() -> None:
    assert KEY_BYTES * 8 >= 128
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", key_of(SIGNER.signed(UrlPrefix.PAGES, PATH)))


def test_a_key_opens_what_it_was_made_for_and_nothing_else() -> None:
    key = key_of(SIGNER.signed(UrlPrefix.PAGES, PATH))

    assert SIGNER.accepts(UrlPrefix.PAGES, PATH, key)
    assert not SIGNER.accepts(UrlPrefix.PAGES, page_path("works", "d" * 64, 3), key)
    assert not SIGNER.accepts(UrlPrefix.IMAGES, PATH, key)
    assert not Signer(SecretStr("t" * 32)).accepts(UrlPrefix.PAGES, PATH, key)
    for wrong in ("", key[:-1], key + "=", key.swapcase(), "\u00e9" * 24):
        assert not SIGNER.accepts(UrlPrefix.PAGES, PATH, wrong)


def test_without_a_secret_urls_have_no_keys_and_no_key_is_right() -> None:
    assert Signer().signed(UrlPrefix.PAGES, PATH) == PATH
    assert not Signer().accepts(UrlPrefix.PAGES, PATH, "")


def test_the_secret_is_in_no_repr() -> None:
    assert "s" * 32 not in repr(SIGNER)


def test_records_carry_the_keys() -> None:
    view = page_record(full_reading(), set(), SIGNER, NOW)["view"]
    image = full_reading().image
    assert image is not None

    assert view == {
        "page": SIGNER.signed(UrlPrefix.PAGES, PATH),
        "thumbnail": SIGNER.signed(UrlPrefix.IMAGES, image.thumbnail_key),
    }
    assert refused_record(full_reading(), FAILURE, SIGNER, NOW)["view"] == view
    without = page_record(full_reading().model_copy(update={"image": None}), set(), Signer(), NOW)["view"]
    assert without == {"page": PATH}


@pytest.mark.parametrize("name", ["PAGESIGHT_SERVE_SECRET", "PAGESIGHT_SERVE_TOKEN"])
def test_a_short_secret_is_refused_without_being_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "harbour")
    with pytest.raises(SettingsError, match="32 characters or more") as caught:
        load()
    assert "harbour" not in str(caught.value)


DOCUMENT = "ab" * 32
STEM = f"images/ab/{DOCUMENT}/{image_stem(12, 3, 'c' * 64)}"


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_the_archive_knows_its_images_by_their_keys(suffix: str) -> None:
    assert is_image_key(f"{STEM}.{suffix}")


@pytest.mark.parametrize(
    "key",
    [
        f"{STEM}.json",
        f"{STEM}.jpg\n",
        f"/{STEM}.jpg",
        f"{STEM}.jpg/../../../x.jpg",
        STEM.replace("images/ab", "images/cd") + ".jpg",
        STEM.replace("/12.", "/0.") + ".jpg",
        STEM.replace("images/", "answers/") + ".jpg",
        STEM.replace("images/", "images/../images/") + ".jpg",
        STEM.replace("c" * 64, "C" * 64) + ".jpg",
        f"readings/works/{DOCUMENT}/1.1.json",
        f"answers/cc/{'c' * 64}/{'d' * 64}.json",
        f"conversions/ab/{DOCUMENT}/1.pdf",
        "collections/works/1.json",
        "",
    ],
)
def test_nothing_else_of_the_archive_is_an_image(key: str) -> None:
    assert not is_image_key(key)
