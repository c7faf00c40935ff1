"""Settings for commands that read files of a user."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.settings import Settings, load
from pipeline.sources import argument_url, is_local, source_path


def load_apart_from(arguments: Iterable[str]) -> Settings:
    """Read the settings, and take none from the folders that these arguments name, nor from those of named files.

    Raises:
        SettingsError: an argument cannot be parsed, or a setting cannot be used.
    """
    return load(source_path(url) for url in map(argument_url, arguments) if is_local(url))
