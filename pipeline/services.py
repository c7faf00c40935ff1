"""The composition root: what a process works with, built once from the settings and closed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from pipeline.analysis.estimate import ArchiveMemory, Pace
from pipeline.analysis.inspect import Inspector
from pipeline.archive import Archive, Store
from pipeline.batches.messages import Walk
from pipeline.core.errors import ServiceRefused
from pipeline.core.leases import FileLeases, Leases
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.core.threads import ContextThreads, PrioritySemaphore
from pipeline.core.url_signing import Signer
from pipeline.documents.conversion import ArchivedConversions, Converter
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords, read_patterned
from pipeline.local.elasticsearch import LocalNode
from pipeline.pages.process import UNIT_PAGES, PageServices, recipe_of
from pipeline.pages.recipe import CurrentRecipe, Request
from pipeline.projection.projector import Projector
from pipeline.rendering.conversion.confinement import ConversionLimits
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.protocol import RenderLimits
from pipeline.search import Index, Layout
from pipeline.sources import Containers, Listing, SourceCache, SourceFiles, list_folder, place_url
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.asking import Asker, Model, Models
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import Limiter, LocalLimiter
from pipeline.vision.model.conversation import EscalationPolicy
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.ocr.process import has_packages
from pipeline.vision.profile import Profile, kept_profile, load_profile
from pipeline.vision.reader import AnswerCache, Reader

#: Pages in hand for each call in flight: with 2 the endpoint is kept 0.98 busy, with 1 only 0.6 (simulated).
PAGES_IN_HAND = 2
#: Ranges worked at once, as a multiple of those that the pages in hand would fill. A range whose last pages wait for
#: their turn occupies its thread: with 1 there were too few left to keep 64 calls in flight (0.87 of the rate).
UNITS_PER_HAND = 2
#: Pages that the local reader works at once. OCR is one process: the second page is for those with a text layer.
LOCAL_READINGS = 2


def open_archive(settings: Settings, cancel: CancelToken | None = None) -> Archive:
    """Open the archive. One in a bucket that is away is waited for with the patience, where there is one.

    Raises:
        ServiceRefused: its location cannot be used.
        SettingsError: no installed package speaks its protocol.
    """
    return Archive(Store(settings.archive_url, cancel))


def open_files(settings: Settings, cancel: CancelToken, opener: Opener, cache: SourceCache) -> SourceFiles:
    """Return the way to the bytes of sources; the opener looks into containers."""
    containers = Containers(opener, cache, settings.max_container_depth)
    return SourceFiles(cache, settings.max_file_bytes, cancel, containers)


def open_cache(settings: Settings) -> SourceCache:
    """Return the cache of what lies in buckets and in containers."""
    return SourceCache(settings.home / "cache" / "sources", settings.source_cache_mb << 20)


def open_converter(settings: Settings) -> Converter:
    """Return what makes PDFs of slides, office files and the like, as many at once as there are processors."""
    limits = ConversionLimits(settings.conversion_seconds, settings.conversion_memory_mb, settings.max_sheet_pages)
    return Converter(limits, PrioritySemaphore(os.cpu_count() or 1))


def own_folders(settings: Settings) -> tuple[str, ...]:
    """Return the URLs of the folders that are never walked: our own."""
    return place_url(str(settings.home)), place_url(settings.archive_url)


def list_source_folder(walk: Walk, settings: Settings) -> Listing:
    """List what a message names.

    Raises:
        ServiceUnavailable, ServiceRefused: its bucket cannot be listed now, or not at all.
    """
    return list_folder(walk.url, walk.root, walk.cursor, own_folders(settings))


def open_leases(settings: Settings) -> FileLeases:
    """Return the leases that the processes of this machine share."""
    return FileLeases(settings.home / "leases")


def elasticsearch_url(settings: Settings) -> str:
    """Return the URL of the cluster: the one that is set, else the local node's.

    Raises:
        ServiceRefused: none is set and the local node does not run.
    """
    url = settings.elasticsearch_url or LocalNode(settings.home).status().url
    if url is None:
        raise ServiceRefused(
            "elasticsearch",
            "no cluster is configured and the local node does not run",
            remedy="Run `pagesight elasticsearch start`, or set PAGESIGHT_ELASTICSEARCH_URL.",
        )
    return url


def open_index(settings: Settings) -> Index:
    """Connect to the cluster; nothing is asked yet.

    Raises:
        ServiceRefused: there is none.
        SettingsError: its URL cannot be used.
    """
    key = settings.elasticsearch_api_key
    return Index(
        elasticsearch_url(settings),
        api_key=key.get_secret_value() if key else None,
        ca_certs=settings.elasticsearch_ca_certs,
        layout=Layout(settings.elasticsearch_prefix, settings.elasticsearch_shards, settings.elasticsearch_replicas),
    )


def open_vlm(settings: Settings) -> VlmClient:
    """Make the client of the vision model's endpoint.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    return VlmClient(
        settings.vlm_url,
        settings.vlm_api_key,
        settings.vlm_model,
        connect_seconds=settings.vlm_connect_seconds,
        read_seconds=settings.vlm_read_seconds,
        concurrency=settings.vlm_concurrency,
    )


def open_text_vlm(settings: Settings) -> VlmClient:
    """Make the client of the endpoint that is asked for a page's text, where one is set.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
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
    """Make what asks the vision model; `budget` bounds what its calls cost.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    return Asker(open_vlm(settings), limiter, revision=settings.vlm_model_revision, budget=budget)


def open_text_asker(settings: Settings, limiter: Limiter, budget: Budget | None = None) -> Asker | None:
    """Make what asks the endpoint for a page's text, within the same limits; None where that is the vision model's.

    Raises:
        SettingsError: its URL or key cannot be used.
    """
    text = models_of(settings).text
    return Asker(open_text_vlm(settings), limiter, revision=text.revision, budget=budget) if text else None


def models_of(settings: Settings) -> Models:
    """Return who is asked what."""
    vision = Model(settings.vlm_model, settings.vlm_model_revision)
    if not settings.text_url:
        return Models(vision)
    text_model = settings.text_model or settings.vlm_model
    return Models(vision, Model(text_model, settings.text_model_revision, settings.text_prompt != "none"))


def open_limiter(settings: Settings) -> LocalLimiter:
    """Return the limits of a process that works alone."""
    return LocalLimiter(settings.vlm_concurrency, settings.vlm_requests_per_minute, settings.vlm_tokens_per_minute)


@dataclass(frozen=True, slots=True)
class FleetServices:
    """What the processes of a fleet share among them."""

    leases: Leases
    limiter: Limiter


def open_reader(
    settings: Settings,
    archive: Archive,
    profile: Profile | None = None,
    shared: FleetServices | None = None,
    budget: Budget | None = None,
) -> Reader:
    """Make the reader of pages: the vision model where one is configured, else the local one.

    `profile` holds the questions asked of the model, the standard ones when None. Without a fleet, leases are shared by
    the processes of this machine, and the limits are those of this process. `budget` bounds what its calls cost.
    """
    cache = AnswerCache(archive, shared.leases if shared else open_leases(settings))
    if not settings.uses_model:
        return LocalReader(cache)
    limiter = shared.limiter if shared else open_limiter(settings)
    asker, text = open_asker(settings, limiter, budget), open_text_asker(settings, limiter, budget)
    policy = EscalationPolicy(settings.vlm_again_tokens, settings.vlm_repetition_penalty or None, _open_ocr(cache))
    return ModelReader(models_of(settings), asker, cache, profile or load_profile(), text, policy)


def _open_ocr(cache: AnswerCache) -> LocalReader | None:
    """Return what reads a page that the model cannot; its process starts with the first one. None where the extra
    `local` is not installed."""
    return LocalReader(cache) if has_packages() else None


def open_passwords(settings: Settings) -> Passwords:
    """Return the passwords of encrypted files; the command for them does not run yet.

    Raises:
        SettingsError: their file cannot be read.
    """
    patterned = read_patterned(settings.passwords_file) if settings.passwords_file else ()
    return Passwords(patterned, settings.passwords, settings.passwords_command)


def render_limits(settings: Settings) -> RenderLimits:
    """Return the limits of the sandbox."""
    return RenderLimits(
        page_seconds=settings.page_seconds,
        memory_mb=settings.sandbox_memory_mb,
        max_pages=settings.max_pages,
        max_pixels=settings.max_pixels,
        max_members=settings.max_members,
        max_expansion=settings.max_expansion,
    )


def pages_in_hand(settings: Settings) -> int:
    """Return how many pages a process may have rendered and not yet read."""
    calls = (settings.worker_in_flight or settings.vlm_concurrency) if settings.uses_model else LOCAL_READINGS
    return PAGES_IN_HAND * calls


def units_at_once(settings: Settings) -> int:
    """Return how many ranges a process works at once."""
    return UNITS_PER_HAND * (pages_in_hand(settings) // UNIT_PAGES) + 2


@contextmanager
def open_page_services(
    settings: Settings,
    cancel: CancelToken,
    profile: Profile | None = None,
    shared: FleetServices | None = None,
    budget: Budget | None = None,
) -> Iterator[tuple[PageServices, int]]:
    """Build the tools of a process, and say how many ranges it works at once.

    Raises:
        SettingsError: a setting cannot be used.
        ServiceRefused: the archive or the cluster cannot be used.
    """
    pages = pages_in_hand(settings)
    ranges = settings.worker_concurrency or units_at_once(settings)
    passwords = open_passwords(settings)
    with ExitStack() as stack:
        archive = open_archive(settings, cancel)
        index = stack.enter_context(closing(open_index(settings)))
        reader = stack.enter_context(closing(open_reader(settings, archive, profile, shared, budget)))
        sandboxes = SandboxPool(min(ranges, os.cpu_count() or 1), render_limits(settings), keep_gps=settings.gps)
        stack.enter_context(closing(sandboxes))
        executor = stack.enter_context(ContextThreads(pages, thread_name_prefix="pages"))
        leases = shared.leases if shared else open_leases(settings)
        cache = open_cache(settings)
        conversions = ArchivedConversions(archive, leases, cache, open_converter(settings))
        opener = Opener(sandboxes, passwords, conversions)
        cropper = stack.enter_context(open_cropper(settings, opener))
        tools = PageServices(
            archive=archive,
            projector=Projector(archive, index, cancel, Signer(settings.serve_secret)),
            opener=opener,
            cropper=cropper,
            files=open_files(settings, cancel, opener, cache),
            reader=reader,
            cancel=cancel,
            pages=executor,
            in_hand=PrioritySemaphore(pages),
            limits=_limits(settings),
            max_file_bytes=settings.max_file_bytes,
        )
        yield tools, ranges


@contextmanager
def open_cropper(settings: Settings, opener: Opener) -> Iterator[Opener]:
    """Build what shows pages anew, otherwise like an opener, with a sandbox of its own.

    Those of the opener are held by documents whose pages wait to be read, and so for these.
    """
    with closing(SandboxPool(1, render_limits(settings))) as sandboxes:
        yield replace(opener, sandboxes=sandboxes)


@contextmanager
def open_looker(settings: Settings, cancel: CancelToken) -> Iterator[SourceFiles]:
    """Build the way to the bytes of sources for a process that makes no pages; a sandbox starts at the first container.

    Raises:
        SettingsError: a setting cannot be used.
    """
    with closing(SandboxPool(1, render_limits(settings))) as sandboxes:
        opener = Opener(sandboxes, open_passwords(settings), open_converter(settings))
        yield open_files(settings, cancel, opener, open_cache(settings))


def open_current_recipe(
    settings: Settings,
    archive: Archive,
    collection: str,
    language: str | None = None,
    profile: Profile | None = None,
) -> CurrentRecipe:
    """Return how the pages of a collection are read today; nobody is asked, and there need be no such collection.

    Language and profile are those named, else the collection's own, else the default.

    Raises:
        SettingsError: a setting, or the collection's profile, cannot be used.
    """
    kept = archive.collection(collection)
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
    """Build what files are looked at with where the archive tells what need not be looked at.

    Raises:
        SettingsError: a setting cannot be used.
    """
    request = Request(collection, "", archive.newest_deletion(collection), today.recipe)
    memory = ArchiveMemory(archive, request, today.profile, today.models)
    with open_inspector(settings, cancel, today.profile) as inspector:
        yield replace(inspector, language=today.recipe.language, memory=memory)


def pace(settings: Settings) -> Pace:
    """Return what bounds how fast the vision model is asked."""
    return Pace(settings.vlm_concurrency, settings.vlm_requests_per_minute, settings.vlm_tokens_per_minute)


@contextmanager
def open_inspector(settings: Settings, cancel: CancelToken, profile: Profile | None = None) -> Iterator[Inspector]:
    """Build what files are looked at with: neither a model nor a cluster is asked.

    `profile` holds the questions that would be asked of the model, the standard ones when None.

    Raises:
        SettingsError: a setting cannot be used.
    """
    processors = os.cpu_count() or 1
    passwords = open_passwords(settings)
    with closing(SandboxPool(processors, render_limits(settings))) as sandboxes:
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
    """Return the limits as one word: a page that one of them stopped is tried again when it changes."""
    names = (
        "max_file_bytes",
        "max_pages",
        "max_pixels",
        "max_members",
        "max_container_depth",
        "max_expansion",
        "max_sheet_pages",
        "page_seconds",
        "sandbox_memory_mb",
        "conversion_seconds",
        "conversion_memory_mb",
    )
    return ",".join(f"{name}={getattr(settings, name):g}" for name in names)
