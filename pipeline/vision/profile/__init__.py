"""Profiles: which questions are asked of a page, under which conditions, and how answers become values."""

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
