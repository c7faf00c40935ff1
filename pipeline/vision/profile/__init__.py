"""Profiles: the questions about a page, their conditions, and the values of their answers."""

from pipeline.vision.profile.definition import (
    DEFAULT_PROFILE,
    RECORD_FIELDS,
    TEXT_QUESTION,
    Profile,
    Question,
    built_in_names,
    kept_form,
    kept_profile,
    load_profile,
    own_names,
    parse_profile,
    read_own,
)

__all__ = [
    "DEFAULT_PROFILE",
    "RECORD_FIELDS",
    "TEXT_QUESTION",
    "Profile",
    "Question",
    "built_in_names",
    "kept_form",
    "kept_profile",
    "load_profile",
    "own_names",
    "parse_profile",
    "read_own",
]
