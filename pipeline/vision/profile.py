"""The profile: which questions are asked of a page, in which words. The words are data, in `profiles/`."""

from __future__ import annotations

import hashlib
import json
import string
import tomllib
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import SettingsError
from pipeline.languages import english_name

DEFAULT_PROFILE = "standard"
#: Digits of the hash that names a revision.
REVISION_DIGITS = 12


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Closed):
    """One question to the model."""

    name: Literal["description", "text"]
    """The field of a record that its answer becomes."""
    prompt: str
    """What is sent; `{language}` stands for the language's English name."""
    max_tokens: int = Field(ge=1, le=8192)
    """8,192 is the longest output that jina-vlm is registered with."""
    empty_answer: str | None = None
    """What the prompt tells the model to answer where there is nothing."""

    @field_validator("prompt")
    @classmethod
    def _names_the_language(cls, prompt: str) -> str:
        if {field for _, field, _, _ in string.Formatter().parse(prompt) if field is not None} != {"language"}:
            raise ValueError("must hold {language}, and no other placeholder")
        return prompt.strip()

    @model_validator(mode="after")
    def _tells_the_empty_answer(self) -> Question:
        if self.empty_answer is not None and self.empty_answer not in self.prompt:
            raise ValueError("the prompt does not tell the empty_answer")
        return self

    def prompt_in(self, language: str) -> str:
        """Return the prompt for the language of a BCP 47 tag."""
        return self.prompt.format(language=english_name(language))


class Profile(_Closed):
    """The questions asked of a page, in order."""

    name: str
    questions: tuple[Question, ...] = Field(min_length=1)

    @field_validator("questions")
    @classmethod
    def _asks_nothing_twice(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        if len({question.name for question in questions}) < len(questions):
            raise ValueError("two questions have one name")
        return questions

    @property
    def revision(self) -> str:
        """Hash of all that is sent, so that no number can be forgotten: names, texts, limits."""
        sent = [(question.name, question.prompt, question.max_tokens) for question in self.questions]
        return hashlib.sha256(json.dumps(sent, ensure_ascii=False).encode()).hexdigest()[:REVISION_DIGITS]


def load_profile(name: str = DEFAULT_PROFILE) -> Profile:
    """Return a profile that comes with the package.

    Raises:
        SettingsError: there is none of that name.
    """
    folder = files("pipeline.vision") / "profiles"
    known = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in known:
        raise SettingsError(f"there is no profile {name!r}", remedy=f"Known profiles: {', '.join(known)}.")
    return parse_profile((folder / f"{name}.toml").read_text(encoding="utf-8"))


def parse_profile(text: str) -> Profile:
    """Return the profile that a TOML text describes.

    Raises:
        SettingsError: the text is no TOML or no profile.
    """
    try:
        return Profile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the profile is no TOML: {error}") from None
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        said = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise SettingsError(f"the profile cannot be used: {said}") from None
