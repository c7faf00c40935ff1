"""No secret of any setting is shown, whatever it is made of; the text around it stays."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline.core.errors import PagesightError, ServiceRefused
from pipeline.core.masking import MASK, SHORT_CHARACTERS, forget, masked, remember
from pipeline.core.settings import Settings, load
from pipeline.documents.passwords import Passwords
from workers.observability.logs import configure

#: Every setting whose type says that it is secret.
SECRET_FIELDS = sorted(
    name
    for name, field in Settings.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
)
URL_FIELDS = sorted(name for name in Settings.model_fields if name.endswith("_url") and name != "pages_url")
#: Values as an environment can hold them, which is without NUL. A secret of asterisks looks like the mask.
secrets = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), min_size=1, max_size=60
).filter(lambda secret: secret.strip() and not set(secret) <= set("*… "))
long_secrets = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=SHORT_CHARACTERS, max_size=60).filter(
    lambda secret: "*" not in secret
)
WORDS = "the page was refused by search:9200 (see /data/a.pdf), code=401;".split()
words = st.lists(st.sampled_from(WORDS)).map(" ".join)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        forget()
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def test_the_settings_have_the_secrets_that_are_tested() -> None:
    assert {"vlm_api_key", "elasticsearch_api_key", "kibana_api_key", "text_api_key", "serve_secret"} <= set(
        SECRET_FIELDS
    )
    assert "SecretStr" in str(Settings.model_fields["passwords"].annotation)
    assert {"elasticsearch_url", "kibana_url", "redis_url", "vlm_url", "text_url"} <= set(URL_FIELDS)


@settings(max_examples=50)
@given(secret=long_secrets, field=st.sampled_from([*SECRET_FIELDS, "passwords"]), before=words, after=words)
def test_no_secret_setting_is_in_an_error_and_the_text_around_it_stays(
    secret: str, field: str, before: str, after: str
) -> None:
    secret = secret * 5 if field.startswith("serve") else secret
    with environment(**{f"PAGESIGHT_{field.upper()}": secret}):
        loaded = load()
        error = ServiceRefused("model", f"{before} {secret} {after}", remedy=f"Look at {secret}")
        assert str(error) == f"{before} {MASK} {after}"
        assert error.remedy == f"Look at {MASK}"
        assert loaded.shown()[field] == MASK
        assert f"{field}='{MASK}'" in repr(loaded)
        for spelled in (quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
            assert masked(f"<{spelled}>") == f"<{MASK}>"


@settings(max_examples=50)
@given(secret=secrets, field=st.sampled_from(URL_FIELDS), before=words)
@example("pa/ss@wo#rd?", "redis_url", "")
@example("a b", "vlm_url", "")
def test_no_password_in_a_url_is_shown_however_it_is_encoded(secret: str, field: str, before: str) -> None:
    assume(f" {secret} " not in f" {before} on host said and ")
    for spelled in (secret, quote(secret, safe="")):
        with environment(**{f"PAGESIGHT_{field.upper()}": f"https://user:{spelled}@host:9200/x"}):
            shown = load().shown()[field]
            said = str(PagesightError(f"{before} {spelled} on https://user:{spelled}@host said {secret} and"))
        assert f"user:{spelled}@" not in shown
        assert f":{spelled}@" not in said
        assert f" {secret} " not in said.replace(MASK, "")
        assert said.startswith(before)
        assert said.endswith(" and")


@given(st.lists(long_secrets, min_size=1, max_size=8), words)
def test_every_password_of_a_list_is_masked(passwords: list[str], text: str) -> None:
    forget()
    Passwords(general=[SecretStr(password) for password in passwords])
    said = masked(f"{text} " + " | ".join(passwords))
    assert said == f"{text} " + " | ".join([MASK] * len(passwords))


def test_a_short_secret_leaves_names_with_hyphens_alone() -> None:
    forget()
    remember(["test"])
    assert masked("s3://test-scans/my-test and test") == f"s3://test-scans/my-test and {MASK}"


@given(st.text("abcdefgXYZ019", min_size=1, max_size=SHORT_CHARACTERS - 1), words)
def test_a_short_secret_is_masked_as_a_whole_word_only(secret: str, text: str) -> None:
    assume(secret not in text)
    forget()
    remember([secret])
    assert masked(f"{text} x{secret} {secret}x {secret}, ({secret}) '{secret}'") == (
        f"{text} x{secret} {secret}x {MASK}, ({MASK}) '{MASK}'"
    )


@given(st.text("abcdefghij0123456789-_.~%", min_size=1, max_size=60), words)
def test_a_url_and_a_query_show_their_secrets_by_their_form(value: str, text: str) -> None:
    assume(value.strip("."))
    for shape in (
        "https://{}@host/x",
        "https://user:{}@host/x",
        "https://host/x?api_key={}&page=2",
        "https://host/x?page=2&X-Amz-Signature={}",
        "/x?sig={}&sp=r",
        "GET /x?accessToken={} HTTP/1.1",
        "token={}",
        '{{"api_key": "{}", "n": 1}}',
        "Authorization: Bearer {}",
        "PAGESIGHT_VLM_API_KEY={}",
    ):
        bare = value.strip(".").strip("%")
        assume(bare)
        said = masked(f"{text} {shape.format(bare)} {text}")
        assert said == f"{text} {_expected(shape)} {text}", shape


def _expected(shape: str) -> str:
    return shape.replace("user:{}", "{}").format(MASK)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=50000 and total_tokens=7",
        "passwords_file=/etc/pagesight/passwords",
        "https://host:9200/indices/a@2x.png?page=3#top",
        "http://[::1]:8765/view/works/1",
        "PAGESIGHT_SERVE_SECRET=… makes keys",
        "author=Bach; keyboard=Steinway; signal=9",
        "the bearer of this letter, and basic information",
        "mail to archivist@example.org",
        "a // b, s3://bucket/folder/file.pdf",
        '{"tokens": "12", "monkey": "x"}',
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_logs_and_tracebacks_show_no_secret(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        with environment(PAGESIGHT_PASSWORDS="harbour\nlongpassword", PAGESIGHT_LOG_FORMAT=log_format):
            configure(load())
            logging.getLogger("x").error("tried %s on https://h/?api_key=abc", "longpassword")
            try:
                raise ValueError("harbour failed, the harbourmaster did not")
            except ValueError:
                logging.getLogger("x").exception("failed")
    finally:
        root.handlers, root.level = handlers, level
        logging.captureWarnings(False)
    written = capsys.readouterr().err
    assert "longpassword" not in written
    assert "abc" not in written
    assert "harbour failed" not in written
    assert "harbourmaster did not" in written
