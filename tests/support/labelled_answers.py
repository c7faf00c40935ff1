"""Answers with labels: clean ones of many kinds, and broken ones made from them, one fault each. All seeded.

Each answer comes from a source: a sentence, a made-up page, a truth text. `held_out` tells the half of the sources that
no limit of `pipeline.vision.quality.checks` was chosen by: figures are reported for that half alone.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.core.languages import CLOSE_LANGUAGES, base, english_name
from pipeline.vision.profile import load_profile
from pipeline.vision.quality.checks import AnswerType, Context, Fault, check
from support.corpus import CORPUS, manifest
from support.page_sentences import HELD_OUT_REFUSALS, PREAMBLES, REFUSALS, SENTENCES

CLEAN = "clean"
#: What stands for nothing in the prompt that asks for text.
EMPTY = "NO TEXT"
PROMPTS = {question.name: question for question in load_profile().questions}
CAPTION_PROMPT = "Provide a caption for this picture in {language}. Be very concise."
#: A layer shorter than this is a title: it may be on every page of a document.
LAYER_MIN_CHARACTERS = 150
#: No spaces between their words.
SPACELESS = frozenset({"th", "ja", "zh-Hans", "zh-Hant"})
LOOPS = frozenset({Fault.TAIL_REPETITION, Fault.REPEATED_LINES, Fault.COMPRESSIBLE})
LANGUAGE = frozenset({Fault.WRONG_LANGUAGE, Fault.WRONG_SCRIPT})
NAMES = (
    "Adebayo Almeida Bergström Castellanos Dvořák Eriksen Farouk Giannopoulos Haddad Ivanova Jankowski Kowalczyk "
    "Lindqvist Moreau Nakamura Okafor Petrenko Quispe Rosenthal Szabó Takahashi Umarov Vasilescu Weissman Xhaka "
    "Yamamoto Zielińska"
).split()
#: What people write, not models: clean wherever a page bears it.
APOLOGIES = (
    "Dear Mr Hale,\n\nI am sorry that I cannot come to the assembly on Friday. A deputy will take my seat.\n\nR.",
    "Wir bedauern, Ihnen keinen Termin anbieten zu können. Es tut uns leid, dass wir so spät schreiben.",
    "Je regrette de ne pouvoir assister à la réunion de mardi. Avec mes excuses, M.",
    "We regret that the ferry could not sail on Monday. Tickets are valid for one more week.",
    "К сожалению, рейс в понедельник не состоялся. Билеты действительны ещё неделю.",
    "Lamentamos el retraso de la entrega. El pedido llegará el jueves por la mañana.",
)


@dataclass(frozen=True)
class Page:
    """A page's true text."""

    source: str
    language: str | None
    text: str


@dataclass(frozen=True)
class Labelled:
    """An answer, what is known of its page, and what is wrong with it."""

    source: str
    label: str
    """`clean` or the name of what was broken."""
    content: str
    context: Context
    accepted: frozenset[Fault] = frozenset()
    """Any of these is the fault found."""
    expected: str | None = None
    """What the cleaned answer is to be, where that is the point."""


def held_out(source: str) -> bool:
    """Whether a source is in the half that nothing was tuned on. Refusals of both halves are listed as such."""
    if source.startswith("refusal/"):
        return source.startswith("refusal/held out/")
    return hashlib.sha256(source.encode()).digest()[0] % 2 == 1


#: A converter's mark where a picture is. The page does not show it.
_PICTURE = re.compile(r"<!-- image -->\n?")


def truth_pages() -> list[Page]:
    """The corpus' truth texts that are long enough to be told apart, in pieces of a page. Skips without a corpus."""
    pages = {}
    for entry in manifest():
        for truth in entry.get("truth") or ():
            if truth["kind"] != "must-contain":
                text = _PICTURE.sub("", (CORPUS / truth["file"]).read_text(encoding="utf-8"))
                languages = entry["lang"]
                pages[truth["file"]] = Page(truth["file"], languages[0] if len(languages) == 1 else None, text)
    return [piece for page in pages.values() for piece in _pieces(page)]


def _pieces(page: Page, characters: int = 2500) -> Iterator[Page]:
    lines, piece = page.text.splitlines(), ""
    for line in lines:
        piece += f"{line}\n"
        if len(piece) > characters:
            yield replace(page, text=piece.strip())
            piece = ""
    if len(piece) >= 60:
        yield replace(page, text=piece.strip())


def made_pages(seed: int, each: int) -> list[Page]:
    """Made-up pages: `each` of every kind, in languages by turns."""
    languages = list(SENTENCES)
    pages = []
    for kind, make in _MAKERS.items():
        for number in range(each):
            language = languages[(number * 7 + len(kind)) % len(languages)]
            source = f"{kind}/{language}/{number}"
            pages.append(Page(source, language, make(random.Random(f"{seed}/{source}"), language)))
    return pages


def _words(rng: random.Random, language: str, count: int) -> list[str]:
    sentences = SENTENCES[language]
    if language in SPACELESS:
        chosen = [rng.choice(sentences).strip("。") for _ in range(count)]
        starts = [rng.randrange(len(sentence) - 4) for sentence in chosen]
        return [sentence[start : start + rng.randint(2, 4)] for sentence, start in zip(chosen, starts, strict=True)]
    words = [word.strip(".,।") for sentence in sentences for word in sentence.split()]
    return [rng.choice(words) for _ in range(count)]


def _line(rng: random.Random, language: str, fewest: int = 4, most: int = 9) -> str:
    return ("" if language in SPACELESS else " ").join(_words(rng, language, rng.randint(fewest, most)))


def _prose_page(rng: random.Random, language: str) -> str:
    return "\n\n".join(" ".join(f"{_line(rng, language, 6, 16)}." for _ in range(4)) for _ in range(rng.randint(2, 5)))


def _table(rng: random.Random, language: str) -> str:
    head = f"| {' | '.join(_words(rng, language, 4))} |\n|---|---|---|---|"
    states = _words(rng, language, 2)
    rows = (
        f"| {_line(rng, language, 1, 2)} | {rng.choice(states)} | {rng.choice(states)} | {rng.uniform(0, 900):.2f} |"
        for _ in range(rng.randint(8, 40))
    )
    return "\n".join((head, *rows))


def _empty_table(rng: random.Random, language: str) -> str:
    cell = rng.choice(("0", "0.00", "–", "n/a", "-", "✓"))
    rows = (f"| {_line(rng, language, 1, 2)} |{f' {cell} |' * 8}" for _ in range(rng.randint(10, 30)))
    return "\n".join(rows) + f"\n|{' 0.00 |' * 9}" * 4


def _code(rng: random.Random, language: str) -> str:
    names = [f"{name.lower()[:5]}_{rng.randint(1, 9)}" for name in rng.sample(NAMES, 6)]
    parts = []
    for name in names:
        limit = rng.randint(2, 99)
        parts.append(
            f"def {name}(values):\n    total = 0\n    for value in values:\n        if value > {limit}:\n"
            f"            total += value * {rng.randint(2, 9)}\n    return total\n"
        )
    braces = "".join(f"{'  ' * (5 - depth)}}}\n" for depth in range(6))
    return "\n".join(parts) + f"\nstruct node {{\n{braces}\n# {_line(rng, language)}\n"


def _poem(rng: random.Random, language: str) -> str:
    refrain = _line(rng, language)
    verses = (
        "\n".join((*(_line(rng, language) for _ in range(4)), refrain, refrain)) for _ in range(rng.randint(3, 6))
    )
    return "\n\n".join(verses)


def _song(rng: random.Random, language: str) -> str:
    chorus = "\n".join(_line(rng, language) for _ in range(rng.randint(2, 4)))
    hum = " ".join([rng.choice(("la", "na", "oh", "hey"))] * rng.randint(4, 12))
    verses = "\n\n".join(
        f"{_line(rng, language)}\n{_line(rng, language)}\n{_line(rng, language)}\n\n{chorus}" for _ in range(3)
    )
    return f"{verses}\n\n{chorus}\n\n{hum}\n{hum}\n{hum}\n{hum}"


def _names(rng: random.Random, language: str) -> str:
    return "\n".join(f"{rng.choice(NAMES)}, {rng.choice(NAMES)[:6]} – {_line(rng, language, 1, 2)}" for _ in range(40))


def _phone_book(rng: random.Random, language: str) -> str:
    town = _line(rng, language, 1, 2)
    return "\n".join(
        f"{name} {rng.choice('ABCDEFGH')}., {town} {rng.randint(1, 120)} ..... 0{rng.randint(200_00000, 999_99999)}"
        for name in sorted(rng.choices(NAMES, k=50))
    )


def _contents(rng: random.Random, language: str) -> str:
    page, lines = 1, []
    for number in range(1, rng.randint(12, 40)):
        page += rng.randint(1, 9)
        lines.append(f"{number}. {_line(rng, language, 1, 5)} {'.' * rng.randint(20, 90)} {page}")
    return "\n".join(lines)


def _form(rng: random.Random, language: str) -> str:
    blanks = "_" * rng.randint(20, 90)
    fields = (f"{_line(rng, language, 1, 3)}: {blanks}" for _ in range(12))
    boxes = "\n".join(f"☐ {word}" for word in _words(rng, language, 8))
    return "\n".join((*fields, boxes, *([blanks] * rng.randint(5, 25))))


def _numbers(rng: random.Random, language: str) -> str:
    del language
    return "\n".join("  ".join(f"{rng.uniform(0, 10 ** rng.randint(1, 5)):.2f}" for _ in range(7)) for _ in range(40))


def _rooms(rng: random.Random, language: str) -> str:
    word, first = _words(rng, language, 1)[0], rng.randint(1, 300)
    return "\n".join(f"{word} {first + number}: {rng.choice(NAMES)}" for number in range(30))


def _quiz(rng: random.Random, language: str) -> str:
    return "\n".join(f"{number}. {_line(rng, language, 3, 8)}? {'_' * 30}" for number in range(1, 25))


def _title(rng: random.Random, language: str) -> str:
    return f"{_line(rng, language, 3, 6)}\n\n{rng.choice(NAMES)}\n\n{rng.randint(1890, 2026)}"


_MAKERS: dict[str, Callable[[random.Random, str], str]] = {
    "prose": _prose_page,
    "table": _table,
    "empty table": _empty_table,
    "code": _code,
    "poem": _poem,
    "song": _song,
    "names": _names,
    "phone book": _phone_book,
    "contents": _contents,
    "form": _form,
    "numbers": _numbers,
    "rooms": _rooms,
    "quiz": _quiz,
    "title": _title,
}


def page_context(text: str, *, layer: bool, **changed: Any) -> Context:
    """What is known of a page with this text on it, asked for its text."""
    characters = sum(map(len, text.split()))
    question = PROMPTS["text"]
    known = Context(
        kind=AnswerType.VERBATIM,
        prompt=question.prompt_in("en"),
        language=None,
        max_tokens=question.max_tokens,
        tokens_out=min(len(text) // 3, question.max_tokens - 1),
        truncated=False,
        blank=False,
        ink_share=max(0.002, 60 * characters / (842 * 1191)),
        width_px=842,
        height_px=1191,
        layer_text=text if layer else None,
        empty_answer=EMPTY,
    )
    return replace(known, **changed)


def prose_context(language: str, text: str, *, caption: bool = False, **changed: Any) -> Context:
    """What is known of a page that is to be described in a language."""
    question = PROMPTS["description"]
    prompt = CAPTION_PROMPT.format(language=english_name(language)) if caption else question.prompt_in(language)
    known = replace(
        page_context("x" * 900, layer=False),
        kind=AnswerType.PROSE,
        prompt=prompt,
        language=language,
        max_tokens=question.max_tokens,
        tokens_out=min(len(text) // 2, question.max_tokens - 1),
        empty_answer=None,
    )
    return replace(known, **changed)


def as_read(rng: random.Random, text: str) -> str:
    """A text as a good reader copies it: a word or line in twenty wrong or missed, two parts swapped at times."""
    lines = [line for line in text.split("\n") if rng.random() > 0.05] or [text]
    if rng.random() < 0.3:
        middle = len(lines) // 2
        lines = [*lines[middle:], *lines[:middle]]
    return "\n".join(" ".join(_misread(rng, word) for word in line.split(" ")) for line in lines)


def _misread(rng: random.Random, word: str) -> str:
    if rng.random() > 0.05 or len(word) < 2:
        return word
    place = rng.randrange(len(word))
    return word[:place] + rng.choice("aeilorn") + word[place + 1 :]


def labelled(pages: Sequence[Page], seed: int) -> Iterator[Labelled]:
    """Every clean and broken answer that is made of these pages."""
    for number, page in enumerate(pages):
        rng = random.Random(f"{seed}/{page.source}/{number}")
        others = [other for other in pages if _may_stand_for(other, page)]
        yield from _clean_copies(rng, page)
        yield from _broken_copies(rng, page)
        for other in rng.sample(others, min(2, len(others))):
            context = page_context(page.text, layer=True)
            wanted = frozenset({Fault.DISAGREES_WITH_LAYER})
            yield Labelled(page.source, "another page", as_read(rng, other.text), context, wanted)


def _may_stand_for(other: Page, page: Page) -> bool:
    """Whether another page's text differs: numbers, code and filler are alike wherever they come from."""
    kinds = {page.source.partition("/")[0], other.source.partition("/")[0]}
    alike = kinds & {
        "code",
        "empty table",
        "form",
        "numbers",
        "rooms",
        "contents",
        "phone book",
        "quiz",
        "song",
        "title",
    }
    if ("Lorem ipsum" in other.text and "Lorem ipsum" in page.text) or len(page.text) < LAYER_MIN_CHARACTERS:
        return False
    return (
        other != page
        and held_out(other.source) == held_out(page.source)
        and other.language == page.language
        and not alike
    )


def _clean_copies(rng: random.Random, page: Page) -> Iterator[Labelled]:
    yield Labelled(page.source, CLEAN, page.text, page_context(page.text, layer=False))
    yield Labelled(page.source, CLEAN, as_read(rng, page.text), page_context(page.text, layer=True))
    yield Labelled(page.source, CLEAN, EMPTY, page_context(page.text, layer=False))
    label = "\n".join(page.text.splitlines()[:3])
    sheet = "\n\n".join([label] * 24)
    yield Labelled(page.source, CLEAN, sheet, page_context(sheet, layer=True))


def _broken_copies(rng: random.Random, page: Page) -> Iterator[Labelled]:
    context = page_context(page.text, layer=False)
    cut = page.text[: max(1, len(page.text) // 2)]
    yield Labelled(
        page.source, "cut off", cut, replace(context, tokens_out=context.max_tokens), frozenset({Fault.CUT_OFF})
    )
    for name, loop in _loops(rng, page.text, context.max_tokens):
        yield Labelled(page.source, name, loop, context, LOOPS)
    yield Labelled(
        page.source,
        "text on a blank page",
        page.text[:400],
        replace(context, blank=True, ink_share=0.0),
        frozenset({Fault.TEXT_ON_BLANK}),
    )
    empty = rng.choice(("", "  \n", "```\n\n```"))
    yield Labelled(page.source, "empty on an inked page", empty, context, frozenset({Fault.EMPTY_ON_INK}))
    if len(page.text.split()) >= 12:
        with_layer = replace(context, layer_text=page.text)
        yield Labelled(page.source, "empty on an inked page", EMPTY, with_layer, frozenset({Fault.EMPTY_ON_INK}))
    if sum(map(len, page.text.split())) > 250:
        scant = replace(context, ink_share=60 * 12 / (842 * 1191))
        yield Labelled(page.source, "too long for its ink", page.text, scant, frozenset({Fault.TOO_LONG_FOR_INK}))
    yield Labelled(page.source, "prompt echoed", context.prompt, context, frozenset({Fault.PROMPT_ECHO}))
    sentences = context.prompt.split(". ")
    some = ". ".join(sentences[: rng.randint(1, len(sentences))])
    yield Labelled(page.source, "prompt echoed", f"{some}.\n{page.text}", context, frozenset({Fault.PROMPT_ECHO}))
    yield Labelled(page.source, "code fence", f"```markdown\n{page.text}\n```", context, expected=page.text.strip())


def _loops(rng: random.Random, text: str, max_tokens: int) -> Iterator[tuple[str, str]]:
    """Yield loops that begin somewhere in a text and go on for a good part of the tokens, in three characters each."""
    goal = int(3 * max_tokens * rng.uniform(0.3, 0.9))
    start = text[: rng.randint(0, min(len(text), goal // 3))]
    words = text.split()
    if sum(map(str.isalpha, text)) < 40:
        return
    size = rng.randint(1, min(20, len(words)))
    first = rng.randrange(len(words) - size + 1)
    unit = " ".join(words[first : first + size])
    if any(map(str.isalpha, unit)):
        yield "loop of words", _until(start, lambda _: f"{unit} ", goal)
        yield "loop that counts", _until(start, lambda number: f"{number}. {unit}\n", goal)
    lines = [line for line in text.splitlines() if sum(map(str.isalpha, line)) >= 15]
    if lines:
        some = rng.sample(lines, min(len(lines), rng.randint(1, 4)))
        yield "loop of lines", _until(start, lambda number: f"{some[number % len(some)]}\n", goal)
        yield "lines in disorder", _until(start, lambda _: f"{rng.choice(some)}\n", goal)
    char = rng.choice(".-_0=~aｗ|…")
    yield "run of characters", start + char * goal
    letters = [word for word in words if word.isalpha()] or ["page"]
    few = rng.sample(letters, min(3, len(letters)))
    frame = " ".join(rng.choices(letters, k=6))
    yield "loop that varies", _until(start, lambda _: f"{frame} {rng.choice(few)} {rng.choice(few)}. ", goal)


def _until(start: str, unit: Callable[[int], str], goal: int) -> str:
    """Go on until the goal, and at least five lines of a loop of four: nobody can call two a loop."""
    text, number = start + "\n", 0
    while len(text) < goal or number < 5 * 4:
        number += 1
        text += unit(number)
    # The limit cuts a word in two.
    return text[:-2]


def labelled_prose(seed: int, rounds: int = 1) -> Iterator[Labelled]:
    """Captions and descriptions in every language, clean and broken, and what a model says instead of them."""
    for language in SENTENCES:
        for half in (False, True):
            known = [
                (f"sentence/{language}/{number}", sentence)
                for number, sentence in enumerate(SENTENCES[language])
                if held_out(f"sentence/{language}/{number}") == half
            ]
            for turn in range(rounds if known else 0):
                rng = random.Random(f"{seed}/{language}/{half}/{turn}")
                yield from _clean_prose(rng, language, known)
                yield from _broken_prose(rng, language, known)
    yield from _instead(seed)


def _clean_prose(rng: random.Random, language: str, known: Sequence[tuple[str, str]]) -> Iterator[Labelled]:
    for source, sentence in known:
        yield Labelled(source, CLEAN, sentence, prose_context(language, sentence, caption=True))
        yield Labelled(source, CLEAN, f'"{sentence}"', prose_context(language, sentence, caption=True))
        foreign = rng.choice(SENTENCES[rng.choice(list(SENTENCES))])
        quoted = f"{sentence} “{foreign}” – {rng.choice(NAMES)}, {rng.choice(NAMES)} (№ {rng.randint(1, 999)})."
        yield Labelled(source, CLEAN, quoted, prose_context(language, quoted))
    source, _ = known[0]
    description = _joined(language, rng.sample([sentence for _, sentence in known], len(known)))
    yield Labelled(source, CLEAN, description, prose_context(language, description))
    bullets = "\n".join(f"- **{rng.choice(NAMES)}**: {sentence}" for _, sentence in known)
    yield Labelled(source, CLEAN, bullets, prose_context(language, bullets))
    of_blank = prose_context(language, known[0][1], blank=True, ink_share=0.0)
    yield Labelled(source, CLEAN, "This page is blank: nothing is on it.", replace(of_blank, language="en"))
    for answer in ("Yes", "No.", "42", "invoice", "chart", "1.234,50"):
        closed = replace(of_blank, kind=AnswerType.CLOSED, language=None, max_tokens=8, tokens_out=2, blank=False)
        yield Labelled(source, CLEAN, answer, closed)


def _joined(language: str, sentences: Sequence[str]) -> str:
    return ("" if language in SPACELESS - {"th"} else " ").join(sentences)


def _broken_prose(rng: random.Random, language: str, known: Sequence[tuple[str, str]]) -> Iterator[Labelled]:
    sentences = [sentence for _, sentence in known]
    for source, sentence in known:
        asked = rng.choice([tag for tag in SENTENCES if _differs(tag, language)])
        yield Labelled(source, "caption in another language", sentence, prose_context(asked, sentence), LANGUAGE)
    source = known[0][0]
    asked = rng.choice([tag for tag in SENTENCES if _differs(tag, language)])
    description = _joined(language, sentences)
    yield Labelled(source, "description in another language", description, prose_context(asked, description), LANGUAGE)
    begun = rng.choices(
        [s for n, s in enumerate(SENTENCES[asked]) if held_out(f"sentence/{asked}/{n}")] or SENTENCES[asked], k=2
    )
    drifted = f"{_joined(asked, begun)} {_joined(language, sentences * 2)}"
    yield Labelled(source, "drift into another language", drifted, prose_context(asked, drifted), LANGUAGE)
    context = prose_context(language, description)
    wanted = frozenset({Fault.CUT_OFF})
    cut = replace(context, tokens_out=rng.choice((context.max_tokens, 40)), truncated=True)
    yield Labelled(source, "cut off", description[: len(description) // 2], cut, wanted)
    for name, loop in _loops(rng, description, context.max_tokens):
        yield Labelled(source, name, loop, context, LOOPS)
    yield Labelled(source, "empty on an inked page", "", context, frozenset({Fault.EMPTY_ON_INK}))
    echoed = rng.choice((context.prompt, f"{context.prompt}\n{description}"))
    yield Labelled(source, "prompt echoed", echoed, context, frozenset({Fault.PROMPT_ECHO}))
    caption = prose_context(language, description, caption=True)
    yield Labelled(source, "prompt echoed", caption.prompt, caption, frozenset({Fault.PROMPT_ECHO}))


def _differs(tag: str, language: str) -> bool:
    """Whether a sentence tells the two languages apart."""
    one, other = base(tag), base(language)
    return one != other and not any(one in group and other in group for group in CLOSE_LANGUAGES)


def _instead(seed: int) -> Iterator[Labelled]:
    rng = random.Random(f"{seed}/instead")
    for half, by_language in (("known", REFUSALS), ("held out", HELD_OUT_REFUSALS)):
        for language, refusal in ((tag, refusal) for tag, refusals in by_language.items() for refusal in refusals):
            for context in (prose_context(language, refusal), page_context("x" * 900, layer=False)):
                source = f"refusal/{half}/{language}"
                yield Labelled(source, "refusal", refusal, context, frozenset({Fault.REFUSAL}))
    for language, preambles in PREAMBLES.items():
        for number, preamble in enumerate(preambles):
            for place, sentence in enumerate(SENTENCES[language]):
                source = f"preamble/{language}/{number}"
                context = prose_context(language, sentence)
                yield Labelled(source, "preamble", preamble + sentence, context, expected=sentence)
                other = rng.choice([tag for tag in SENTENCES if tag != language])
                text = SENTENCES[other][place]
                yield Labelled(source, "preamble", preamble + text, page_context(text, layer=False), expected=text)
    for number, letter in enumerate(APOLOGIES):
        yield Labelled(f"apology/{number}", CLEAN, letter, page_context(letter, layer=False))


@dataclass(frozen=True)
class Score:
    """How often one kind of answer was told from what it is not."""

    cases: int
    told: int
    wrong: tuple[tuple[Labelled, tuple[Fault, ...]], ...]
    """Those that were not, with what was said of them."""

    @property
    def share(self) -> float:
        return self.told / self.cases


def scores(answers: Iterable[Labelled]) -> dict[str, Score]:
    """Check answers, and return by label how many broken ones were found so, and how many clean ones not."""
    told: dict[str, list[tuple[bool, Labelled, tuple[Fault, ...]]]] = defaultdict(list)
    for answer in answers:
        checked = check(answer.content, answer.context)
        if answer.expected is not None:
            right = checked.content == answer.expected
        elif answer.label == CLEAN:
            right = not checked.faults
        else:
            right = not answer.accepted.isdisjoint(checked.faults)
        told[answer.label].append((right, answer, checked.faults))
    return {
        label: Score(len(all_), sum(right for right, *_ in all_), tuple((a, f) for right, a, f in all_ if not right))
        for label, all_ in told.items()
    }
