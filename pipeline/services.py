"""The composition root: builds the services of a process from the settings. They are built once and closed at the end.

Each function imports the modules that it needs. So a command that only searches loads no renderer, model client or OCR.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.core.confinement import missing_layers
from pipeline.core.errors import ServiceRefused
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings

if TYPE_CHECKING:
    from pipeline.analysis.estimate import Pace
    from pipeline.analysis.inspect import Inspector
    from pipeline.archive import Archive, Store
    from pipeline.core.leases import FileLeases, Leases
    from pipeline.documents.conversion import Converter
    from pipeline.documents.opening import Opener
    from pipeline.documents.passwords import Passwords
    from pipeline.embedding import Embedder
    from pipeline.pages.page_services import PageServices
    from pipeline.pages.recipe import CurrentRecipe
    from pipeline.projection.projector import Projector
    from pipeline.rendering.host.pool import SandboxPool
    from pipeline.rendering.protocol import RenderLimits
    from pipeline.search.index import Index
    from pipeline.sources import SourceCache, SourceFiles
    from pipeline.vision.budget import Budget
    from pipeline.vision.endpoint.asking import Asker, Models
    from pipeline.vision.endpoint.client import VlmClient
    from pipeline.vision.endpoint.limits import Limiter, LocalLimiter
    from pipeline.vision.ocr.local_reader import LocalReader
    from pipeline.vision.profile import Profile
    from pipeline.vision.reader import AnswerCache, Reader


#: Rendered, unread pages per call in flight. In a simulation the endpoint is busy 98 % of the time with 2, 60 % with 1.
PAGES_IN_HAND = 2
#: Factor for the number of work units at once; with 1 they would just fill the rendered pages. A unit whose last pages
#: wait for the model occupies its thread: with 1, too few threads were left for 64 calls in flight (87 % of the rate).
UNITS_PER_HAND = 2
#: Pages that the local reader reads at once. OCR is one process; the second slot is for pages with a text layer.
LOCAL_READINGS = 2


def open_archive(settings: Settings, cancel: CancelToken | None = None, *, require: bool = True) -> Archive:
    """Open the archive. With a cancel token, every later call waits while the archive is away or missing.

    Callers that need only the locations of files do not require that it is there.

    Raises:
        ArchiveMissing: the home knows an archive at this location, and it is not there now.
        ServiceRefused: its location cannot be used.
        SettingsError: no installed package supports its protocol.
    """
    from pipeline.archive import Archive

    store = _archive_store(settings, cancel)
    if require:
        store.require()
    return Archive(store)


def adopt_archive(settings: Settings) -> str:
    """Accept what is at the archive's location as the archive of this home; return its id.

    Raises:
        ServiceRefused: its location, or the home, cannot be used.
    """
    return _archive_store(settings).adopt()


def _archive_store(settings: Settings, cancel: CancelToken | None = None) -> Store:
    from pipeline.archive import KnownArchives, Store

    return Store(settings.archive_url, cancel, KnownArchives(settings.home / "archives"))


def open_files(settings: Settings, cancel: CancelToken, opener: Opener, cache: SourceCache) -> SourceFiles:
    """Return the access to the bytes of sources; the opener opens containers."""
    from pipeline.sources import Containers, SourceFiles

    containers = Containers(opener, cache, settings.max_container_depth)
    return SourceFiles(cache, settings.max_file_bytes, cancel, containers)


def open_cache(settings: Settings) -> SourceCache:
    """Return the cache of objects and of files within containers."""
    from pipeline.sources import SourceCache

    return SourceCache(settings.home / "cache" / "sources", settings.source_cache_mb << 20)


def open_converter(settings: Settings) -> Converter:
    """Return the converter of slides, office files and similar formats to PDF. It runs one conversion per processor."""
    from pipeline.core.child_process import TimeLimit
    from pipeline.core.threads import PrioritySemaphore
    from pipeline.documents.conversion import Converter
    from pipeline.rendering.conversion.confinement import ConversionLimits

    time = TimeLimit(settings.conversion_seconds, settings.conversion_wall_seconds)
    limits = ConversionLimits(time, settings.conversion_memory_mb, settings.max_sheet_pages)
    return Converter(limits, PrioritySemaphore(os.cpu_count() or 1))


def own_folders(settings: Settings) -> tuple[str, ...]:
    """Return the URLs of Pagesight's own folders, which are never walked."""
    from pipeline.sources import argument_url

    return argument_url(str(settings.home)), argument_url(settings.archive_url)


def open_leases(settings: Settings) -> FileLeases:
    """Return the leases that the processes of this machine share."""
    from pipeline.core.leases import FileLeases

    return FileLeases(settings.home / "leases")


def elasticsearch_url(settings: Settings) -> str:
    """Return the configured URL of the cluster, or else the URL of the local node.

    Raises:
        ServiceRefused: no URL is configured and the local node does not run.
    """
    from pipeline.local.elasticsearch import LocalNode

    url = settings.elasticsearch_url or LocalNode(settings.home).status().url
    if url is None:
        raise ServiceRefused(
            "elasticsearch",
            "no cluster is configured and the local node does not run",
            remedy="Run `pagesight elasticsearch start`, or set PAGESIGHT_ELASTICSEARCH_URL.",
        )
    return url


def open_index(settings: Settings) -> Index:
    """Return the client of the cluster. It makes no request yet.

    Raises:
        ServiceRefused: no cluster is configured and the local node does not run.
        SettingsError: the cluster's URL cannot be used.
    """
    from pipeline.search import Layout
    from pipeline.search.index import Index

    key = settings.elasticsearch_api_key
    return Index(
        elasticsearch_url(settings),
        api_key=key.get_secret_value() if key else None,
        ca_certs=settings.elasticsearch_ca_certs,
        layout=Layout(settings.elasticsearch_prefix, settings.elasticsearch_shards, settings.elasticsearch_replicas),
    )


def _is_jinas(url: str) -> bool:
    """Whether a URL is that of one of Jina's own services, by https: they share keys."""
    parts = urlsplit(url.strip())
    return parts.scheme == "https" and f".{parts.hostname}".endswith(".jina.ai")


def open_embedder(settings: Settings) -> Embedder | None:
    """Return the model for vectors, or None where they are switched off or not available.

    Raises:
        SettingsError: the endpoint's URL cannot be used, or the local model is not installed.
    """
    from pipeline.embedding.local import LocalEmbedder, is_installed

    url = settings.embed_url
    if url == "none" or (not url and (settings.uses_model or not is_installed())):
        return None
    if url in ("", "local"):
        return LocalEmbedder()
    from pipeline.embedding import EmbeddingModel
    from pipeline.embedding.remote import RemoteEmbedder

    # The key of another provider's vision model is never sent to Jina.
    shares_key = _is_jinas(url) and _is_jinas(settings.vlm_url)
    key = settings.embed_api_key or (settings.vlm_api_key if shares_key else None)
    return RemoteEmbedder(url, key, EmbeddingModel(settings.embed_model, settings.embed_dimensions))


def open_projector(settings: Settings, archive: Archive, index: Index, cancel: CancelToken) -> Projector:
    """Return the projector; it makes vectors of pages where a model for them is available."""
    from pipeline.core.url_signing import Signer
    from pipeline.projection.projector import Projector
    from pipeline.projection.vectors import PageVectors

    embedder = open_embedder(settings)
    vectors = None if embedder is None else PageVectors(archive, embedder)
    return Projector(archive, index, cancel, Signer(settings.serve_secret), vectors)


def open_vlm(settings: Settings) -> VlmClient:
    """Make the client of the vision model's endpoint.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    from pipeline.vision.endpoint.client import VlmClient

    return VlmClient(
        settings.vlm_url,
        settings.vlm_api_key,
        settings.vlm_model,
        connect_seconds=settings.vlm_connect_seconds,
        read_seconds=settings.vlm_read_seconds,
        concurrency=settings.vlm_concurrency,
    )


def open_text_vlm(settings: Settings) -> VlmClient:
    """Make the client of the separate endpoint for a page's text, which must be configured.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    from pipeline.vision.endpoint.client import VlmClient

    text = models_of(settings).text
    assert text is not None
    return VlmClient(
        settings.text_url,
        settings.text_api_key,
        text.name,
        connect_seconds=settings.vlm_connect_seconds,
        read_seconds=settings.vlm_read_seconds,
        concurrency=settings.vlm_concurrency,
        settings="PAGESIGHT_TEXT_",
    )


def open_asker(settings: Settings, limiter: Limiter, budget: Budget | None = None) -> Asker:
    """Make the asker of the vision model; `budget` bounds the tokens of its calls.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    from pipeline.vision.endpoint.asking import Asker
    from pipeline.vision.endpoint.first_question import FirstQuestion

    return Asker(
        open_vlm(settings),
        limiter,
        revision=settings.vlm_model_revision,
        budget=budget,
        first_question=FirstQuestion(),
    )


def open_text_asker(settings: Settings, limiter: Limiter, budget: Budget | None = None) -> Asker | None:
    """Make the asker of the separate endpoint for a page's text, with the same limits; None if none is configured.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    from pipeline.vision.endpoint.asking import Asker
    from pipeline.vision.endpoint.first_question import FirstQuestion

    text = models_of(settings).text
    if text is None:
        return None
    return Asker(
        open_text_vlm(settings), limiter, revision=text.revision, budget=budget, first_question=FirstQuestion()
    )


def models_of(settings: Settings) -> Models:
    """Return the models: the vision model, and the separate model for texts if one is configured."""
    from pipeline.vision.endpoint.asking import Model, Models

    vision = Model(settings.vlm_model, settings.vlm_model_revision)
    if not settings.text_url:
        return Models(vision)
    text_model = settings.text_model or settings.vlm_model
    return Models(vision, Model(text_model, settings.text_model_revision, settings.text_prompt != "none"))


def open_limiter(settings: Settings) -> LocalLimiter:
    """Return the limiter of a process without a fleet."""
    from pipeline.vision.endpoint.limits import LocalLimiter

    return LocalLimiter(settings.vlm_concurrency, settings.vlm_requests_per_minute, settings.vlm_tokens_per_minute)


@dataclass(frozen=True, slots=True)
class FleetServices:
    """The services that the processes of a fleet share."""

    leases: Leases
    limiter: Limiter


def open_reader(
    settings: Settings,
    archive: Archive,
    profile: Profile | None = None,
    shared: FleetServices | None = None,
    budget: Budget | None = None,
) -> Reader:
    """Make the reader of pages: the vision model if one is configured, else the local reader.

    Args:
        settings: endpoint, keys and limits.
        archive: stores the answers.
        profile: the questions for the model; the standard profile when None.
        shared: leases and limits of a fleet. When None, the processes of this machine share the leases, and the limits
            apply only to this process.
        budget: bounds the tokens of the model's calls.
    """
    from pipeline.vision.model.conversation import EscalationPolicy
    from pipeline.vision.model.model_reader import ModelReader
    from pipeline.vision.profile import load_profile
    from pipeline.vision.reader import AnswerCache

    cache = AnswerCache(archive.answers, shared.leases if shared else open_leases(settings))
    if not settings.uses_model:
        return _open_local_reader(settings, cache)
    limiter = shared.limiter if shared else open_limiter(settings)
    asker, text = open_asker(settings, limiter, budget), open_text_asker(settings, limiter, budget)
    policy = EscalationPolicy(
        settings.vlm_again_tokens, settings.vlm_repetition_penalty or None, _open_ocr(settings, cache)
    )
    return ModelReader(models_of(settings), asker, cache, profile or load_profile(), text, policy)


def _open_ocr(settings: Settings, cache: AnswerCache) -> LocalReader | None:
    """Return the reader for pages that the model fails to read; None if the extra `local` is not installed.

    Its process starts with the first such page.
    """
    from pipeline.vision.ocr.process import has_packages

    return _open_local_reader(settings, cache) if has_packages() else None


def _open_local_reader(settings: Settings, cache: AnswerCache) -> LocalReader:
    from pipeline.core.child_process import TimeLimit
    from pipeline.vision.ocr.local_reader import LocalReader, open_engines

    return LocalReader(cache, *open_engines(TimeLimit(settings.ocr_seconds, settings.ocr_wall_seconds)))


def open_passwords(settings: Settings) -> Passwords:
    """Return the passwords of encrypted files. The password command is not run yet.

    Raises:
        SettingsError: the password file cannot be read.
    """
    from pipeline.documents.passwords import Passwords, read_patterned

    patterned = read_patterned(settings.passwords_file) if settings.passwords_file else ()
    return Passwords(patterned, settings.passwords, settings.passwords_command)


def open_sandboxes(settings: Settings, size: int) -> SandboxPool:
    """Return the pool of processes that decode files. Whatever decodes files has one, so this requires the confinement.

    Raises:
        ServiceRefused: the settings are strict, and this machine lacks a layer.
    """
    from pipeline.rendering.host.pool import SandboxPool

    missing = missing_layers() if settings.strict_confinement else ()
    if missing:
        raise ServiceRefused(
            "confinement",
            f"decoders are not confined as strict_confinement demands: {'; '.join(missing)}",
            remedy="Use a kernel with Landlock (Linux 6.12) on x86_64 or aarch64, or set"
            " PAGESIGHT_STRICT_CONFINEMENT=false.",
        )
    return SandboxPool(size, render_limits(settings), keep_gps=settings.gps)


def render_limits(settings: Settings) -> RenderLimits:
    """Return the limits of the sandbox."""
    from pipeline.rendering.protocol import RenderLimits

    return RenderLimits(
        page_seconds=settings.page_seconds,
        wall_seconds=settings.page_wall_seconds,
        memory_mb=settings.sandbox_memory_mb,
        max_pages=settings.max_pages,
        max_pixels=settings.max_pixels,
        max_members=settings.max_members,
        max_expansion=settings.max_expansion,
    )


def pages_in_hand(settings: Settings) -> int:
    """Return the maximum number of rendered, unread pages of a process."""
    calls = (settings.worker_in_flight or settings.vlm_concurrency) if settings.uses_model else LOCAL_READINGS
    return PAGES_IN_HAND * calls


def units_at_once(settings: Settings) -> int:
    """Return the number of work units that a process handles at once."""
    from pipeline.pages.units import UNIT_PAGES

    return UNITS_PER_HAND * (pages_in_hand(settings) // UNIT_PAGES) + 2


@contextmanager
def open_page_services(
    settings: Settings,
    cancel: CancelToken,
    profile: Profile | None = None,
    shared: FleetServices | None = None,
    budget: Budget | None = None,
) -> Iterator[tuple[PageServices, int]]:
    """Build the services of a process. Yield them, and the number of work units that it handles at once.

    Raises:
        SettingsError: a setting cannot be used.
        ServiceRefused: the archive or the cluster cannot be used.
    """
    from pipeline.core.threads import ContextThreads, PrioritySemaphore
    from pipeline.documents.conversion import ArchivedConversions
    from pipeline.documents.opening import Opener
    from pipeline.pages.contents import ContentsLimits
    from pipeline.pages.document_budget import DocumentLimits
    from pipeline.pages.page_services import PageServices

    pages = pages_in_hand(settings)
    units = settings.worker_concurrency or units_at_once(settings)
    passwords = open_passwords(settings)
    with ExitStack() as stack:
        archive = open_archive(settings, cancel)
        index = stack.enter_context(closing(open_index(settings)))
        reader = stack.enter_context(closing(open_reader(settings, archive, profile, shared, budget)))
        sandboxes = stack.enter_context(closing(open_sandboxes(settings, min(units, os.cpu_count() or 1))))
        executor = stack.enter_context(ContextThreads(pages, thread_name_prefix="pages"))
        leases = shared.leases if shared else open_leases(settings)
        cache = open_cache(settings)
        conversions = ArchivedConversions(archive, leases, cache, open_converter(settings))
        opener = Opener(sandboxes, passwords, conversions)
        cropper = stack.enter_context(open_cropper(settings, opener))
        services = PageServices(
            archive=archive,
            projector=open_projector(settings, archive, index, cancel),
            opener=opener,
            cropper=cropper,
            files=open_files(settings, cancel, opener, cache),
            reader=reader,
            cancel=cancel,
            pages=executor,
            in_hand=PrioritySemaphore(pages),
            limits=_limits(settings),
            max_file_bytes=settings.max_file_bytes,
            document_limits=DocumentLimits(settings.document_seconds, settings.document_timeouts),
            contents_limits=ContentsLimits(
                settings.max_total_members, settings.max_expansion, settings.max_conversions
            ),
        )
        yield services, units


@contextmanager
def open_cropper(settings: Settings, opener: Opener) -> Iterator[Opener]:
    """Build the opener that renders pages again, with a sandbox of its own.

    The sandboxes of `opener` are held by documents whose pages wait for the model, and such pages may have to be
    rendered again. If both shared the sandboxes, they could wait for each other (deadlock).
    """
    with closing(open_sandboxes(settings, 1)) as sandboxes:
        yield replace(opener, sandboxes=sandboxes)


@contextmanager
def open_looker(settings: Settings, cancel: CancelToken) -> Iterator[SourceFiles]:
    """Build the access to the bytes of sources for a process that reads no pages.

    A sandbox starts at the first container.

    Raises:
        SettingsError: a setting cannot be used.
    """
    from pipeline.documents.opening import Opener

    with closing(open_sandboxes(settings, 1)) as sandboxes:
        opener = Opener(sandboxes, open_passwords(settings), open_converter(settings))
        yield open_files(settings, cancel, opener, open_cache(settings))


def open_current_recipe(
    settings: Settings,
    archive: Archive,
    collection: str,
    language: str | None = None,
    profile: Profile | None = None,
) -> CurrentRecipe:
    """Return the current recipe of a collection, which need not exist. Only the archive is read.

    Language and profile are the given ones, else those of the collection, else the defaults.

    Raises:
        SettingsError: a setting, or the collection's profile, cannot be used.
    """
    from pipeline.pages.page_services import recipe_of
    from pipeline.pages.recipe import CurrentRecipe
    from pipeline.vision.profile import kept_profile, load_profile

    kept = archive.collections[collection].newest()
    if profile is None:
        profile = kept_profile(kept.profile, kept.own_profile) if kept else load_profile()
    tag = language or (kept.language if kept else settings.language)
    with closing(open_reader(settings, archive, profile)) as reader:
        recipe = recipe_of(reader, tag, _limits(settings), open_passwords(settings))
        return CurrentRecipe(recipe, profile, models_of(settings) if reader.describes else None)


@contextmanager
def open_planner(
    settings: Settings, cancel: CancelToken, archive: Archive, collection: str, today: CurrentRecipe
) -> Iterator[Inspector]:
    """Build the inspector that uses the archive to skip known files and pages.

    Raises:
        SettingsError: a setting cannot be used.
    """
    from pipeline.analysis.estimate import ArchiveMemory
    from pipeline.pages.recipe import Request

    request = Request(collection, "", archive.deletions[collection].newest_revision(), today.recipe)
    memory = ArchiveMemory(archive, request, today.profile, today.models)
    with open_inspector(settings, cancel, today.profile) as inspector:
        yield replace(inspector, language=today.recipe.language, memory=memory)


def pace(settings: Settings) -> Pace:
    """Return the limits on the rate of the vision model's calls."""
    from pipeline.analysis.estimate import Pace

    return Pace(settings.vlm_concurrency, settings.vlm_requests_per_minute, settings.vlm_tokens_per_minute)


@contextmanager
def open_inspector(settings: Settings, cancel: CancelToken, profile: Profile | None = None) -> Iterator[Inspector]:
    """Build the inspector of files. It calls neither a model nor a cluster.

    `profile` contains the questions for the model; None selects the standard profile.

    Raises:
        SettingsError: a setting cannot be used.
    """
    from pipeline.analysis.inspect import Inspector
    from pipeline.documents.opening import Opener
    from pipeline.vision.profile import load_profile

    processors = os.cpu_count() or 1
    passwords = open_passwords(settings)
    with closing(open_sandboxes(settings, processors)) as sandboxes:
        opener = Opener(sandboxes, passwords, open_converter(settings))
        yield Inspector(
            opener=opener,
            files=open_files(settings, cancel, opener, open_cache(settings)),
            max_file_bytes=settings.max_file_bytes,
            files_at_once=processors,
            profile=(profile or load_profile()) if settings.uses_model else None,
            language=settings.language,
        )


def _limits(settings: Settings) -> str:
    """Return the limits as one string. If it changes, pages and files that a limit stopped are tried again."""
    names = (
        "max_file_bytes",
        "max_pages",
        "max_pixels",
        "max_members",
        "max_total_members",
        "max_conversions",
        "max_container_depth",
        "max_expansion",
        "max_sheet_pages",
        "page_seconds",
        "page_wall_seconds",
        "document_seconds",
        "document_timeouts",
        "sandbox_memory_mb",
        "conversion_seconds",
        "conversion_wall_seconds",
        "conversion_memory_mb",
    )
    return ",".join(f"{name}={getattr(settings, name):g}" for name in names)
