"""The profile: the questions about a page, their prompts and their conditions.

Profiles are data: files in `profiles/`, or users' own files.

Closed questions (a choice, yes or no, a number) are asked in English, and their answers are the English words in the
prompt, whatever the requested language. So there is only one set of words to parse, and one answer serves all
languages.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.core.errors import SettingsError
from pipeline.core.languages import english_name
from pipeline.core.models import AnswerKind
from pipeline.vision.profile.conditions import PAGE_NAMES, REQUESTED, Known, Sample, check_condition, evaluate

DEFAULT_PROFILE = "standard"
#: Questions whose answers are record fields of their own. The answer to any other question is a field of `answers`.
RECORD_FIELDS = ("description", "caption", "text", "translation")
#: The question for the text on the page. It can have an endpoint of its own, and can be asked about bands of a page.
TEXT_QUESTION = "text"
#: Hex digits of the hash that is used as the revision.
REVISION_DIGITS = 12
SUFFIX = ".toml"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CLOSED = (AnswerKind.CHOICE, AnswerKind.YES_NO, AnswerKind.NUMBER)
_YES_NO = ("yes", "no")


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_StrictModel):
    """A question to the model."""

    name: str
    """One of `RECORD_FIELDS`, or a name chosen by the profile's author."""
    kind: AnswerKind = AnswerKind.TEXT
    choices: tuple[str, ...] = ()
    """For a choice: two or more. For a list: the possible entries, or () if any entry is possible."""
    prompt: str
    """The text that is sent; `{language}` is replaced by the language's English name."""
    max_tokens: int = Field(ge=1, le=8192)
    """Maximum length of the answer. 8,192 is the maximum output with which jina-vlm is registered."""
    empty_answer: str | None = None
    """The word that the prompt requests if there is nothing to report."""
    language: Literal["requested", "verbatim"] | None = None
    """Whether the answer is in the requested language or in the language of the page. The default is `verbatim` for
    the question `text` and `requested` for all others. Closed questions have no language."""
    when: str | None = None
    """The condition under which the question is asked; None for always."""

    @field_validator("name")
    @classmethod
    def _is_fit_for_conditions(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in ("page", REQUESTED):
            raise ValueError(
                "must be small letters, digits and _, begin with a letter, and not be a keyword of conditions"
            )
        return name

    @field_validator("prompt")
    @classmethod
    def _has_no_other_placeholder(cls, prompt: str) -> str:
        if {field for _, field, _, _ in string.Formatter().parse(prompt) if field is not None} - {"language"}:
            raise ValueError("may hold {language}, and no other placeholder")
        return prompt.strip()

    @model_validator(mode="after")
    def _fits_together(self) -> Question:
        if self.name in RECORD_FIELDS and self.kind is not AnswerKind.TEXT:
            raise ValueError(f"{self.name} must be of the kind text")
        if self.kind in _CLOSED and self.language is not None:
            raise ValueError(f"a question of the kind {self.kind} has no language: its answer is a word of the prompt")
        if self.is_in_requested_language and "{language}" not in self.prompt:
            raise ValueError("the prompt must hold {language}; without it the model answers in the image's language")
        return self

    @model_validator(mode="after")
    def _names_its_answers(self) -> Question:
        if self.choices and self.kind not in (AnswerKind.CHOICE, AnswerKind.LIST):
            raise ValueError(f"a question of the kind {self.kind} has no choices")
        if self.kind is AnswerKind.CHOICE and len(self.choices) < 2:
            raise ValueError("a choice needs at least two choices")
        if len({choice.casefold() for choice in self.choices}) < len(self.choices):
            raise ValueError("two choices are the same")
        for word in _YES_NO if self.kind is AnswerKind.YES_NO else self.choices:
            if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self.prompt, re.IGNORECASE):
                raise ValueError(f"the prompt does not name the answer {word!r}")
        if self.empty_answer is not None and self.empty_answer not in self.prompt:
            raise ValueError("the prompt does not name the empty_answer")
        return self

    @property
    def is_in_requested_language(self) -> bool:
        """Whether its answer is text in the requested language."""
        rule = self.language or ("verbatim" if self.name == "text" else "requested")
        return self.kind not in _CLOSED and not (self.kind is AnswerKind.LIST and self.choices) and rule == "requested"

    @property
    def sample(self) -> Sample:
        """An example of its answers for conditions, and its choices."""
        samples: dict[AnswerKind, Known] = {AnswerKind.YES_NO: True, AnswerKind.NUMBER: 1.0, AnswerKind.LIST: ("a",)}
        return samples.get(self.kind, "a"), self.choices

    def prompt_in(self, language: str) -> str:
        """Return the prompt for the language of a BCP 47 tag."""
        return self.prompt.format(language=english_name(language))

    def language_in(self, language: str) -> str:
        """Return the language that the prompt names; "" if it names none, so that one answer serves all languages."""
        return language if "{language}" in self.prompt else ""

    def is_asked(self, known: Mapping[str, Known]) -> bool:
        """Return whether the question is asked, given the facts of the page and the earlier answers."""
        return self.when is None or evaluate(self.when, known) is True

    def may_be_asked(self, facts: Mapping[str, Known]) -> bool:
        """Return whether the question may be asked, given only the facts of the page."""
        return self.when is None or evaluate(self.when, facts) is not False

    @property
    def revision_parts(self) -> tuple[object, ...]:
        """The values that affect the request or the handling of the answer. `empty_answer` is part of the prompt."""
        sent = (self.name, self.prompt, self.max_tokens)
        rest = self.model_dump(mode="json", include={"kind", "choices", "language", "when"}, exclude_defaults=True)
        # A question without these fields keeps the form that it had before they existed: its pages do not become stale.
        return (*sent, rest) if rest else sent


class Profile(_StrictModel):
    """The questions about a page, in order."""

    name: str
    questions: tuple[Question, ...] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _is_fit_for_files(cls, name: str) -> str:
        if not _PROFILE_NAME.fullmatch(name):
            raise ValueError("must be up to 63 small letters, digits, - and _, beginning with a letter or digit")
        return name

    @field_validator("questions")
    @classmethod
    def _asks_nothing_twice(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        if len({question.name for question in questions}) < len(questions):
            raise ValueError("two questions have one name")
        return questions

    @field_validator("questions")
    @classmethod
    def _conditions_can_be_evaluated(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        names = dict(PAGE_NAMES)
        for question in questions:
            try:
                if question.when is not None:
                    check_condition(question.when, names)
            except ValueError as error:
                raise ValueError(f"question {question.name}: {error}") from None
            names[question.name] = question.sample
            if question.kind is AnswerKind.TEXT:
                names[f"{question.name}.language"] = ("en", ())
        return questions

    @property
    def revision(self) -> str:
        """Hash of the values that affect requests and the handling of answers. It is never raised by hand."""
        parts = [question.revision_parts for question in self.questions]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:REVISION_DIGITS]

    @property
    def own_kinds(self) -> dict[str, AnswerKind]:
        """Kinds of its questions whose answers are fields under `answers` of a record, by name."""
        return {question.name: question.kind for question in self.questions if question.name not in RECORD_FIELDS}

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own profile and not part of the package."""
        return self.name not in built_in_names()


def built_in_names() -> tuple[str, ...]:
    """Return the names of the profiles in the package."""
    folder = files("pipeline.vision.profile") / "profiles"
    return tuple(sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)))


def own_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the profile files in a folder, without opening them. The folder need not exist."""
    return tuple(sorted(path.stem for path in folder.glob("*" + SUFFIX)))


def load_profile(name: str = DEFAULT_PROFILE, folder: Path | None = None) -> Profile:
    """Return the profile with this name: one of the package, or a user's own one from a folder.

    Raises:
        SettingsError: there is no profile with this name, or it cannot be used.
    """
    if name in built_in_names():
        return _built_in(name)
    own = own_names(folder) if folder is not None else ()
    if folder is None or name not in own:
        known = ", ".join((*built_in_names(), *own))
        raise SettingsError(f"there is no profile {name!r}", remedy=f"Known profiles: {known}.")
    return read_own(folder / f"{name}{SUFFIX}")


def read_own(path: Path) -> Profile:
    """Return the profile in a user's own file.

    Raises:
        SettingsError: it cannot be read or used, its name differs from the file's name, or its name is taken.
    """
    try:
        profile = parse_profile(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the profile {path} cannot be read: {error}") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}", remedy=error.remedy) from None
    if not profile.is_own:
        raise SettingsError(
            f"{path}: the name {profile.name!r} is taken by a profile of Pagesight",
            remedy="Give file and profile another name.",
        )
    if path.name != profile.name + SUFFIX:
        raise SettingsError(
            f"{path}: the profile in it is named {profile.name!r}",
            remedy=f"Name the file {profile.name}{SUFFIX}, or give the profile the name of the file.",
        )
    return profile


def parse_profile(text: str) -> Profile:
    """Return the profile that a TOML text describes.

    Raises:
        SettingsError: the text is not TOML or not a profile.
    """
    try:
        described = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the profile is not TOML: {error}") from None
    try:
        return Profile.model_validate(described)
    except ValidationError as error:
        raise SettingsError(f"the profile cannot be used: {_explain(error, described)}") from None


def kept_form(profile: Profile) -> dict[str, Any] | None:
    """Return a user's own profile in its archived form; None for a profile of the package."""
    return profile.model_dump(mode="json", exclude_defaults=True) if profile.is_own else None


def kept_profile(name: str, own: dict[str, Any] | None) -> Profile:
    """Return the profile that is stored with a collection or a batch.

    Raises:
        SettingsError: this version of the package does not contain the profile, or cannot use it.
    """
    if own is None:
        return load_profile(name)
    try:
        return Profile.model_validate(own)
    except ValidationError as error:
        raise SettingsError(
            f"the profile {name} of the collection cannot be used: {_explain(error, own)}",
            remedy="Name another one with --profile.",
        ) from None


@cache
def _built_in(name: str) -> Profile:
    return parse_profile(
        (files("pipeline.vision.profile") / "profiles" / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    )


def _explain(error: ValidationError, described: dict[str, Any]) -> str:
    """Return the errors of a profile, with the names of its questions instead of their numbers."""
    messages = []
    for problem in error.errors(include_input=False, include_url=False):
        path = [*map(str, problem["loc"])]
        if len(path) > 1 and path[0] == "questions":
            question = described["questions"][int(path[1])]
            name = question.get("name", path[1]) if isinstance(question, dict) else path[1]
            path[:2] = [f"question {name}"]
        messages.append(f"{'.'.join(path)}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(messages)
