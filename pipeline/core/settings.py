"""Settings: one typed, closed model, read from `pagesight.toml` and `PAGESIGHT_*`.

`pipeline.core.configuration` decides which file is read. The environment overrides the file. Unknown names are refused,
with the nearest known one as a hint. Secrets are `SecretStr`, and `pipeline.core.masking` masks their values in logs
and errors. A test compares the table in `docs/settings.md` with this model.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.core.configuration import CONFIG_VARIABLE, FILE_NAME, ConfigurationFile, announcer, default_home, find
from pipeline.core.data_folders import DataFolders, configuration_in
from pipeline.core.errors import SettingsError
from pipeline.core.languages import normalise_tag
from pipeline.core.masking import MASK, masked, remember, secrets_of_url
from pipeline.core.process_secrets import withheld
from pipeline.core.schedules import Schedule, parse_schedules

PREFIX = "PAGESIGHT_"
#: Other environment variables for the key of `vlm_url`: the one of Jina's own tools.
KEY_ALIASES = ("JINA_API_KEY",)
#: Environment variables that the clients of buckets read.
BUCKET_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
#: Minimum length of `serve_secret` and `serve_token`.
SERVE_SECRET_CHARACTERS = 32
#: Settings that hold a path; `archive` may be a URL.
_PATHS = frozenset({"home", "archive", "profiles", "elasticsearch_ca_certs", "passwords_file"})


class Settings(BaseSettings):
    """All settings, with their defaults. Only `load` creates an instance."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Field(default_factory=default_home)
    """Folder of the local node, the archive and other state of this machine."""
    archive: str = ""
    """Directory or fsspec URL of the archive; `<home>/archive` when empty."""
    language: str = "en"
    """BCP 47 tag of the language of descriptions, for collections without their own."""

    profiles: Path | None = None
    """Folder of your own profiles; `<home>/profiles` when empty."""

    elasticsearch_url: str = ""
    """URL of the cluster; the local node when empty."""
    elasticsearch_api_key: SecretStr | None = None
    elasticsearch_ca_certs: Path | None = None
    """CA bundle (PEM) that signed the cluster's certificate."""
    elasticsearch_prefix: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9._-]*)?$")
    """Prefix of the names of indices, aliases, templates and roles: several installations can share a cluster."""
    elasticsearch_shards: int = Field(default=1, ge=1, le=1024)
    """Shards of each index, set when it is created."""
    elasticsearch_replicas: int | None = Field(default=None, ge=0)
    """Copies of each shard, set when an index is created; one where the cluster has a second node, when unset."""

    kibana_url: str = ""
    """URL of Kibana; no objects are installed when empty. It may hold a user name and a password."""
    kibana_api_key: SecretStr | None = None
    kibana_space: str = Field(default="default", pattern=r"^[a-z0-9_-]+$")
    """Kibana space for the installed objects."""
    pages_url: str = Field(default="http://127.0.0.1:8765", pattern=r"^https?://[^\s\"\\{}?#]+$")
    """Base URL of `pagesight serve` for browsers; links to pages begin with it."""

    vlm_url: str = "https://api-beta-vlm.jina.ai/v1"
    """Base URL of an OpenAI-compatible endpoint that serves jina-vlm."""
    vlm_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices(PREFIX + "VLM_API_KEY", *KEY_ALIASES, "vlm_api_key")
    )
    """Without a key, and with the default `vlm_url`, the local reader reads the pages."""
    vlm_model: str = "jina-vlm"
    vlm_model_revision: str = "1"
    """Your name for the model's current weights. After a change of this name every question is asked again."""
    vlm_concurrency: int = Field(default=5, ge=1, le=1024)
    """Concurrent calls. Jina's free tier allows 5."""
    vlm_requests_per_minute: int = Field(default=500, ge=0)
    """Calls per minute; unlimited when 0. Jina's free tier allows 500."""
    vlm_tokens_per_minute: int = Field(default=1_000_000, ge=0)
    """Tokens, sent and received, per minute; unlimited when 0. Jina's free tier allows 1 M."""
    vlm_again_tokens: int = Field(default=50_000, ge=0)
    """Tokens, sent and received, that further attempts after untrusted answers may use per page."""
    vlm_repetition_penalty: float = Field(default=0, ge=0, le=2)
    """Sent with the attempts at a higher temperature, to endpoints that accept it; never sent when 0."""
    vlm_connect_seconds: float = Field(default=15, gt=0)
    vlm_read_seconds: float = Field(default=180, gt=0)

    text_url: str = ""
    """Base URL of another OpenAI-compatible endpoint for the question about a page's text; unused when empty."""
    text_api_key: SecretStr | None = None
    """Its key. The key of `vlm_url` is never sent there."""
    text_model: str = ""
    """Model name sent to it; `vlm_model` when empty."""
    text_model_revision: str = "1"
    """Like `vlm_model_revision`, for that model."""
    text_prompt: Literal["profile", "none"] = "profile"
    """`none` for an OCR model without prompts, which is sent only the image."""

    embed_url: str = ""
    """Base URL of an endpoint for embeddings, `local` for the model of the extra `local`, or `none`. When empty, the
    local model embeds where no vision model is configured and the extra is installed."""
    embed_api_key: SecretStr | None = None
    """Its key; the key of `vlm_url` is sent to Jina's own endpoint only."""
    embed_model: str = "jina-embeddings-v5-text-small"
    """Model name sent to it."""
    embed_dimensions: int = Field(default=512, ge=32, le=4096)
    """Dimensions of its vectors. Jina's models can cut theirs to 32, 64, 128, 256, 512, 768 or 1,024."""

    redis_url: str = ""
    """Broker of the workers; the local Redis when empty. `pagesight index` does not use it."""
    redis_ca_certs: Path | None = None
    """CA bundle (PEM) that signed the certificate of a `rediss://` server."""
    worker_concurrency: int = Field(default=0, ge=0, le=1024)
    """Messages that a worker handles at once; chosen by its calls when 0."""
    worker_in_flight: int = Field(default=0, ge=0, le=1024)
    """Concurrent calls for which a worker prepares pages; the limit of the whole fleet when 0."""
    range_seconds: float = Field(default=600, gt=0)
    """Time after which a worker returns the rest of a message to the queue."""
    worker_silence_seconds: float = Field(default=20, ge=5)
    """Time without a heartbeat after which a worker's messages and calls are released."""
    worker_host: str = "127.0.0.1"
    """Address at which a worker serves its health and metrics."""
    worker_port: int = Field(default=0, ge=0, le=65_535)
    """Port for health and metrics; they are not served when 0."""
    serve_host: str = "127.0.0.1"
    """Address of `pagesight serve`."""
    serve_port: int = Field(default=8765, ge=0, le=65_535)
    """Its port; any free port when 0."""
    serve_secret: SecretStr | None = None
    """Secret that makes the keys of its URLs; without it, URLs have no keys."""
    serve_token: SecretStr | None = None
    """Token that gives access to everything it shows."""
    serve_originals: bool = False
    """Whether it also sends the original files of documents."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """Log format of worker and beat; `auto` is text on a terminal and JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    schedules: Annotated[dict[str, Schedule], NoDecode] = Field(default_factory=dict)
    """Repeated actions by name: tables in the file, one JSON object in the environment."""

    gps: bool = False
    """Keep the GPS position in a photograph's EXIF data. It is personal data."""
    max_file_bytes: int = Field(default=2 << 30, ge=1)
    max_pages: int = Field(default=20_000, ge=1)
    """Maximum number of pages of a document."""
    max_pixels: int = Field(default=300_000_000, ge=1)
    """Maximum number of pixels of the picture in an image file."""
    max_members: int = Field(default=10_000, ge=1)
    """Maximum number of files in an archive, a message or a PDF."""
    max_total_members: int = Field(default=100_000, ge=1)
    """Maximum number of files in an outermost file, over all levels."""
    max_conversions: int = Field(default=2_000, ge=1)
    """Maximum number of files in an outermost file that are converted to PDF."""
    max_container_depth: int = Field(default=3, ge=1)
    """Maximum number of levels of nested containers."""
    max_expansion: float = Field(default=100, ge=1)
    """Maximum ratio of the size of a container's files to its own size; 64 MiB are always allowed."""
    max_sheet_pages: int = Field(default=200, ge=1)
    """Maximum number of printed pages of a spreadsheet."""
    page_seconds: float = Field(default=60, gt=0)
    """CPU seconds for rendering one page, or for opening a file."""
    page_wall_seconds: float = Field(default=300, gt=0)
    """Wall-clock seconds for the same."""
    document_seconds: float = Field(default=3600, gt=0)
    """CPU seconds for rendering all pages of a document in one batch."""
    document_timeouts: int = Field(default=10, ge=1)
    """Pages of a document that may exceed `page_seconds` before the rest is left out."""
    sandbox_memory_mb: int = Field(default=2048, ge=256)
    """Address space of one sandbox process, in MiB."""
    conversion_seconds: float = Field(default=180, gt=0)
    """CPU seconds for converting a document to PDF, of all programs together."""
    conversion_wall_seconds: float = Field(default=900, gt=0)
    """Wall-clock seconds for the same."""
    ocr_seconds: float = Field(default=120, gt=0)
    """CPU seconds for reading one page by OCR, by each engine."""
    ocr_wall_seconds: float = Field(default=600, gt=0)
    """Wall-clock seconds for the same."""
    conversion_memory_mb: int = Field(default=2048, ge=256)
    """Memory that a converting program may allocate, in MiB."""
    strict_confinement: bool = False
    """Refuse to decode files on a machine that lacks a layer of the confinement of decoders."""
    source_cache_mb: int = Field(default=4096, ge=1)
    """Size of `<home>/cache/sources`, the cache of files from buckets and containers, in MiB."""

    passwords: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Passwords of encrypted files: a list in the file, one per line in the environment."""
    passwords_file: Path | None = None
    """A file of `pattern: password` lines."""
    passwords_command: str = ""
    """A program with arguments, quoted as in a shell, that prints passwords, one per line."""

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
        # With one URL and its key, an attacker can try short secrets offline.
        if secret is not None and len(secret) < SERVE_SECRET_CHARACTERS:
            raise ValueError(f"write {SERVE_SECRET_CHARACTERS} characters or more: `openssl rand -hex 24` makes 48")
        return secret

    @field_validator("language")
    @classmethod
    def _known_language(cls, tag: str) -> str:
        # The default needs no check. The language tables are slow to import, and most commands never use them.
        return tag if tag == cls.model_fields["language"].default else normalise_tag(tag)

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
        """Read the environment, then the values of the file. `.env` is not read: it is a file of the folder too."""
        return env_settings, init_settings

    def shown(self) -> dict[str, str]:
        """Return every setting for display, with secrets masked."""
        return {name: masked(_text(value)) for name, value in self} | {"passwords_command": self._shown_command()}

    def _shown_command(self) -> str:
        """Return the program only: any argument may be a password."""
        program, *arguments = shlex.split(self.passwords_command) or [""]
        return f"{program} {MASK}" if arguments else program

    def secrets(self) -> Iterator[str]:
        """Yield every secret in these settings, also those in URLs."""
        for _, value in self:
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, SecretStr):
                    yield part.get_secret_value()
                elif isinstance(part, str):
                    yield from secrets_of_url(part)

    def __repr_args__(self) -> Iterable[tuple[str, str]]:
        return self.shown().items()

    @property
    def archive_url(self) -> str:
        """Path or URL of the archive."""
        return self.archive or str((self.home / "archive").absolute())

    @property
    def profiles_folder(self) -> Path:
        """Folder of your own profiles; it may be missing."""
        return self.profiles or self.home / "profiles"

    @property
    def uses_model(self) -> bool:
        """Whether a vision model is configured: a key, or another endpoint, which may need none."""
        return self.vlm_api_key is not None or self.vlm_url != Settings.model_fields["vlm_url"].default


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(entry)}" for name, entry in value.items())
    if isinstance(value, Schedule):
        return value.when if value.enabled else "off"
    return "" if value is None else str(value)


def load(data: Iterable[Path] = ()) -> Settings:
    """Read the settings of this process. Commands name files that are not used on standard error.

    Args:
        data: files and folders that the command reads as documents. No configuration is taken from them, also by later
            calls and commands: file and home are put into the environment of this process, and the folders are noted.

    Raises:
        SettingsError: a name is unknown or a value is invalid; the message says what to write instead.
    """
    noted = DataFolders(Path(os.environ.get(PREFIX + "HOME") or default_home()))
    documents = [path.resolve() for path in data]
    noted.add(noted_path for path in documents for noted_path in configuration_in(path))
    roots = [path if path.is_dir() else path.parent for path in documents]
    found = find(os.environ, _working_directory(), (*roots, *noted.known()))
    announcer.announce(found.notices)
    given = _values(found.file) if found.file else {}
    if found.local_home is not None and "home" not in given:
        given["home"] = found.local_home
    settings = _validated(given)
    remember(settings.secrets())
    remember(os.environ[name] for name in BUCKET_SECRETS if os.environ.get(name))
    if roots:
        os.environ[CONFIG_VARIABLE] = str(found.file.path if found.file else os.devnull)
        os.environ[PREFIX + "HOME"] = str(settings.home.absolute())
    return settings


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed
        return Path("/")


def _validated(given: dict[str, Any]) -> Settings:
    known = tuple(Settings.model_fields)
    variables = [
        name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX) and name != CONFIG_VARIABLE
    ]
    _refuse_unknown([name.lower() for name in variables], known, PREFIX)
    _refuse_unknown(list(given), known, "")
    try:
        return Settings(**given | _withheld())
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors(include_input=False))) from None


def _withheld() -> dict[str, str]:
    """Return the settings whose variables `withhold_secrets` took out of the environment."""
    keys = [value for name in KEY_ALIASES if (value := withheld.get(name))]
    own = {name.removeprefix(PREFIX).lower(): value for name, value in withheld.items() if name.startswith(PREFIX)}
    _refuse_unknown(list(own), tuple(Settings.model_fields), PREFIX)
    return ({"vlm_api_key": keys[0]} if keys else {}) | {name: value for name, value in own.items() if value}


def _values(file: ConfigurationFile) -> dict[str, Any]:
    """Return the values of a file. Relative paths in it start at its folder."""
    try:
        values = tomllib.loads(file.content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file.path} cannot be read: {error}") from None
    return {name: _from_folder(value, file.path.parent) if name in _PATHS else value for name, value in values.items()}


def _from_folder(value: object, folder: Path) -> object:
    return str(folder / value) if isinstance(value, str) and value and "://" not in value else value


def _refuse_unknown(names: list[str], known: tuple[str, ...], prefix: str) -> None:
    def spelled(name: str) -> str:
        return (prefix + name).upper() if prefix else name

    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {spelled(nearest[0])}?" if nearest else "docs/settings.md lists all settings."
            where = "environment variable" if prefix else f"key in {FILE_NAME}:"
            raise SettingsError(f"unknown {where} {spelled(name)}", remedy=hint)


def _explain(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    return f"{name}: {problem['msg']}"
