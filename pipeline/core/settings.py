"""Settings: one typed, closed model, read from `pagesight.toml` and `PAGESIGHT_*`.

The environment wins over the file. Unknown names are refused with the nearest known one; secrets are `SecretStr`, so
that no `repr`, log line or error shows them. `docs/settings.md` holds the table for people, and a test holds it to
this model.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline.core.errors import SettingsError
from pipeline.core.languages import normalise_tag
from pipeline.core.schedules import Schedule, parse_schedules

PREFIX = "PAGESIGHT_"
FILE_NAME = "pagesight.toml"
#: The other names a secret is known by; Jina's own tools use the first.
KEY_ALIASES = ("JINA_API_KEY",)
#: What `serve_secret` and `serve_token` must have at least.
SERVE_SECRET_CHARACTERS = 32
_USER_INFO = re.compile(r"//[^/@\s]+@")


class Settings(BaseSettings):
    """Every setting, with its default. `Settings` is built by `load` only."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Path(".pagesight")
    """Where the local node, the archive and other state of this machine lie."""
    archive: str = ""
    """Directory or fsspec URL of the archive; `<home>/archive` when empty."""
    language: str = "en"
    """BCP 47 tag of the language that pages are described in, for collections that name none."""

    profiles: Path | None = None
    """Folder of your own profiles; `<home>/profiles` when empty."""

    elasticsearch_url: str = ""
    """URL of the cluster; the local node when empty."""
    elasticsearch_api_key: SecretStr | None = None
    elasticsearch_ca_certs: Path | None = None
    """CA bundle (PEM) that signed the cluster's certificate."""
    elasticsearch_prefix: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]*)?$")
    """What every name of an index, alias, template or role begins with: several installations share a cluster so."""
    elasticsearch_shards: int = Field(default=1, ge=1, le=1024)
    """Shards of each index, set when it is made."""
    elasticsearch_replicas: int = Field(default=0, ge=0)
    """Copies of each shard, set when an index is made."""

    kibana_url: str = ""
    """URL of Kibana; no objects are installed when empty. It may hold a user name and a password."""
    kibana_api_key: SecretStr | None = None
    kibana_space: str = Field(default="default", pattern=r"^[a-z0-9_-]+$")
    """The space that Kibana's objects are installed into."""
    pages_url: str = Field(default="http://127.0.0.1:8765", pattern=r"^https?://[^\s\"\\{}?#]+$")
    """Base URL under which people reach `pagesight serve`: links to pages begin so."""

    vlm_url: str = "https://api-beta-vlm.jina.ai/v1"
    """Base URL of an OpenAI-compatible endpoint that serves jina-vlm."""
    vlm_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices(PREFIX + "VLM_API_KEY", *KEY_ALIASES, "vlm_api_key")
    )
    """Without a key, and with `vlm_url` as it is, pages are read by the local reader."""
    vlm_model: str = "jina-vlm"
    vlm_model_revision: str = "1"
    """Name you give to the model's present weights: another one makes every answer be asked anew."""
    vlm_concurrency: int = Field(default=5, ge=1, le=1024)
    """Calls in flight at once. Jina's free tier allows 5."""
    vlm_requests_per_minute: int = Field(default=500, ge=0)
    """Calls that may begin in a minute; any number when 0. Jina's free tier allows 500."""
    vlm_tokens_per_minute: int = Field(default=1_000_000, ge=0)
    """Tokens, sent and received, that a minute's calls may cost; any number when 0. Jina's free tier allows 1 M."""
    vlm_again_tokens: int = Field(default=50_000, ge=0)
    """What asking again may cost a page, in tokens sent and received, where an answer cannot be trusted."""
    vlm_repetition_penalty: float = Field(default=0, ge=0, le=2)
    """Sent with second and third askings, to endpoints that take it; never when 0."""
    vlm_connect_seconds: float = Field(default=15, gt=0)
    vlm_read_seconds: float = Field(default=180, gt=0)

    text_url: str = ""
    """Base URL of another OpenAI-compatible endpoint, to which the question for a page's text goes; none when empty."""
    text_api_key: SecretStr | None = None
    """Its key. That of `vlm_url` is never sent there."""
    text_model: str = ""
    """Model name sent to it; `vlm_model` when empty."""
    text_model_revision: str = "1"
    """As `vlm_model_revision`, for the model there."""
    text_prompt: Literal["profile", "none"] = "profile"
    """`none` for an OCR model that takes no prompt: it is sent the image alone."""

    redis_url: str = ""
    """Broker of the workers; the local Redis when empty. `pagesight index` needs none."""
    worker_concurrency: int = Field(default=0, ge=0, le=1024)
    """Messages that a worker works at once; as many as its calls need when 0."""
    worker_in_flight: int = Field(default=0, ge=0, le=1024)
    """Calls that a worker prepares pages for; those that the whole fleet may have in flight when 0."""
    range_seconds: float = Field(default=600, gt=0)
    """How long a worker stays with one message before it hands back the rest."""
    worker_silence_seconds: float = Field(default=20, ge=5)
    """How long a worker may be silent before its messages and calls are taken to be free again."""
    worker_host: str = "127.0.0.1"
    """Address on which a worker serves its health and metrics."""
    worker_port: int = Field(default=0, ge=0, le=65_535)
    """Port of these; none are served when 0."""
    serve_host: str = "127.0.0.1"
    """Address on which `pagesight serve` shows pages."""
    serve_port: int = Field(default=8765, ge=0, le=65_535)
    """Its port; any that is free when 0."""
    serve_secret: SecretStr | None = None
    """What the keys of its URLs are made with; without one they have none."""
    serve_token: SecretStr | None = None
    """A word that opens everything that it shows."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """How worker and beat log; `auto` is text on a terminal and JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    schedules: Annotated[dict[str, Schedule], NoDecode] = Field(default_factory=dict)
    """What is done again and again, by name: tables in the file, one JSON object in the environment."""

    gps: bool = False
    """Keep the position that a photograph's EXIF names. It is personal data."""
    max_file_bytes: int = Field(default=2 << 30, ge=1)
    max_pages: int = Field(default=20_000, ge=1)
    """Pages a document may have."""
    max_pixels: int = Field(default=300_000_000, ge=1)
    """Pixels that the picture of an image file may have."""
    max_members: int = Field(default=10_000, ge=1)
    """Files that an archive, a message or a PDF may hold."""
    max_container_depth: int = Field(default=3, ge=1)
    """How many containers a file may lie in, each in the next."""
    max_expansion: float = Field(default=100, ge=1)
    """How many times its own size a container's files may have, all together; 64 MiB they may always have."""
    max_sheet_pages: int = Field(default=200, ge=1)
    """Printed pages that are made of a spreadsheet."""
    page_seconds: float = Field(default=60, gt=0)
    """Wall-clock seconds for rendering one page, or for opening a file."""
    sandbox_memory_mb: int = Field(default=2048, ge=256)
    """Address space of one sandbox process, in MiB."""
    conversion_seconds: float = Field(default=180, gt=0)
    """Wall-clock seconds for making a PDF of a document."""
    conversion_memory_mb: int = Field(default=2048, ge=256)
    """What a program that makes PDFs may allocate, in MiB."""
    source_cache_mb: int = Field(default=4096, ge=1)
    """What `<home>/cache/sources` may hold of files from buckets and out of containers, in MiB."""

    passwords: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Of encrypted files: a list in the file, one a line in the environment."""
    passwords_file: Path | None = None
    """A file of `pattern: password` lines."""
    passwords_command: str = ""
    """A program and its arguments, as in a shell, which prints passwords, one a line."""

    @field_validator("passwords", mode="before")
    @classmethod
    def _one_a_line(cls, given: object) -> object:
        return [line for line in given.split("\n") if line] if isinstance(given, str) else given

    @field_validator("passwords_command")
    @classmethod
    def _shell_words(cls, command: str) -> str:
        shlex.split(command)
        return command

    @field_validator("serve_secret", "serve_token")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        # Who has one URL with its key could try short secrets on it at leisure.
        if secret is not None and len(secret) < SERVE_SECRET_CHARACTERS:
            raise ValueError(f"write {SERVE_SECRET_CHARACTERS} characters or more: `openssl rand -hex 24` makes 48")
        return secret

    @field_validator("language")
    @classmethod
    def _known_language(cls, tag: str) -> str:
        return normalise_tag(tag)

    @field_validator("schedules", mode="before")
    @classmethod
    def _tables(cls, given: object) -> object:
        tables = json.loads(given) if isinstance(given, str) else given
        if not isinstance(tables, dict):
            raise ValueError("write tables `[schedules.NAME]`, or one JSON object")
        return parse_schedules(tables)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file; no `.env`, which other tools of the folder may own."""
        return env_settings, TomlConfigSettingsSource(settings_cls, Path(FILE_NAME))

    def shown(self) -> dict[str, str]:
        """Return every setting as it may be shown: secrets, and passwords within URLs, are masked."""
        return {name: masked(_text(value)) for name, value in self}

    def __repr_args__(self) -> Iterable[tuple[str, str]]:
        return self.shown().items()

    @property
    def archive_url(self) -> str:
        """Where the archive lies."""
        return self.archive or str((self.home / "archive").absolute())

    @property
    def profiles_folder(self) -> Path:
        """Where profiles of one's own lie; it need not exist."""
        return self.profiles or self.home / "profiles"

    @property
    def uses_model(self) -> bool:
        """Whether a vision model is configured: a key, or an endpoint of one's own that needs none."""
        return self.vlm_api_key is not None or self.vlm_url != Settings.model_fields["vlm_url"].default


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(entry)}" for name, entry in value.items())
    if isinstance(value, Schedule):
        return value.when if value.enabled else "off"
    return "" if value is None else str(value)


def masked(text: str) -> str:
    """Return text in which user names and passwords within URLs cannot be read."""
    return _USER_INFO.sub("//**********@", text)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: an unknown name or a value that does not fit, with what to write instead.
    """
    environ = os.environ if environ is None else environ
    known = tuple(Settings.model_fields)
    _refuse_unknown([name.removeprefix(PREFIX).lower() for name in environ if name.startswith(PREFIX)], known, PREFIX)
    _refuse_unknown(list(_file_keys()), known, "")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors(include_input=False))) from None


def _file_keys() -> dict[str, Any]:
    path = Path(FILE_NAME)
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{FILE_NAME} cannot be read: {error}") from None


def _refuse_unknown(names: list[str], known: tuple[str, ...], prefix: str) -> None:
    def spelled(name: str) -> str:
        return (prefix + name).upper() if prefix else name

    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {spelled(nearest[0])}?" if nearest else "See docs/settings.md for all of them."
            where = "environment variable" if prefix else f"key in {FILE_NAME}:"
            raise SettingsError(f"unknown {where} {spelled(name)}", remedy=hint)


def _explain(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    return f"{name}: {problem['msg']}"
