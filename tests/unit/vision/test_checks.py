"""The checks of answers: what each sees and leaves alone, and their bounds over a seeded set."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipeline.vision.quality.checks import AnswerType, Context, Fault, check, overlap
from support.labelled_answers import (
    CLEAN,
    held_out,
    labelled,
    labelled_prose,
    made_pages,
    page_context,
    prose_context,
    scores,
)

LETTER = """Harbour office, 3 May

To all masters of barges. The northern lock stays closed from Monday to Thursday, because its lower gate is being
repaired. Cargo for the granite quay is unloaded at the old timber yard; ask the pilot for a berth before noon.

The harbour master"""


def verbatim(**changed: object) -> Context:
    return page_context(LETTER, layer=False, **changed)


def faults(content: str, context: Context) -> set[Fault]:
    return set(check(content, context).faults)


def test_a_clean_copy_is_left_as_it_is() -> None:
    checked = check(LETTER, page_context(LETTER, layer=True))

    assert checked.faults == ()
    assert checked.content == checked.clean_prefix == LETTER
    assert (checked.repetition, checked.agreement) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (f"```\n{LETTER}\n```", LETTER),
        (f"```markdown\n{LETTER}", LETTER),
        (f"Here is the text from the image:\n\n{LETTER}", LETTER),
        (f"Sure! Here's the transcription:\n```text\n{LETTER}\n```", LETTER),
        ("Note: the lock is closed.", "Note: the lock is closed."),
        ("Here is the list:\n1. rope", "Here is the list:\n1. rope"),
        ("NO TEXT.", ""),
        ("  \n", ""),
    ],
)
def test_what_is_put_around_an_answer_is_taken_off(raw: str, content: str) -> None:
    assert check(raw, verbatim()).content == content


def test_what_reads_like_a_preamble_stays_where_the_page_bears_it() -> None:
    page = f"Here is the text of the notice:\n{LETTER}"
    assert check(page, page_context(page, layer=True)).content == page


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"truncated": True}, {Fault.CUT_OFF}),
        ({"tokens_out": 4096}, {Fault.CUT_OFF}),  # the endpoint said that the model stopped by itself
        ({"tokens_out": 4095}, set()),
        ({"ink_share": 0.0006}, {Fault.TOO_LONG_FOR_INK}),
        ({"blank": True, "ink_share": 0.0}, {Fault.TEXT_ON_BLANK}),
        (
            {"layer_text": "Invoice 17 for two hundred sacks of winter barley, payable within thirty days"},
            {Fault.DISAGREES_WITH_LAYER},
        ),
        ({"layer_text": "Notice"}, set()),  # too little to be evidence
    ],
)
def test_what_is_known_of_the_page_tells(changed: dict[str, object], expected: set[Fault]) -> None:
    assert faults(LETTER, verbatim(**changed)) == expected


@pytest.mark.parametrize(
    ("content", "changed", "expected"),
    [
        ("", {}, {Fault.EMPTY_ON_INK}),
        ("NO TEXT", {}, set()),  # a picture has none
        ("NO TEXT", {"layer_text": LETTER}, {Fault.EMPTY_ON_INK, Fault.DISAGREES_WITH_LAYER}),
        ("", {"blank": True, "ink_share": 0.0}, set()),
        ("", {"ink_share": 0.0001}, set()),
    ],
)
def test_nothing_is_an_answer_where_nothing_is(content: str, changed: dict[str, object], expected: set[Fault]) -> None:
    assert faults(content, verbatim(**changed)) == expected


@pytest.mark.parametrize(
    ("unit", "times", "fault"),
    [
        ("the ", 300, Fault.TAIL_REPETITION),
        ("The gate is being repaired. ", 60, Fault.TAIL_REPETITION),
        ("Cargo for the quay.\nAsk the pilot.\n", 40, Fault.TAIL_REPETITION),
        ("閘門正在修理。", 60, Fault.TAIL_REPETITION),
        ("_", 900, Fault.TAIL_REPETITION),
        ("0", 900, Fault.TAIL_REPETITION),
    ],
)
def test_a_loop_is_found_and_what_came_before_it_is_kept(unit: str, times: int, fault: Fault) -> None:
    checked = check(f"{LETTER}\n{unit * times}"[:-1], verbatim())

    assert fault in checked.faults
    assert checked.clean_prefix.startswith(LETTER)
    assert len(checked.clean_prefix) <= len(LETTER) + 2 * len(unit) + 1
    assert checked.repetition == pytest.approx(1 - len(checked.clean_prefix) / len(checked.content), abs=0.05)


def test_a_loop_that_counts_is_one() -> None:
    counting = "".join(f"{number}. The gate is being repaired.\n" for number in range(1, 60))
    assert Fault.TAIL_REPETITION in faults(counting, verbatim(ink_share=0.2))


def test_lines_that_come_back_in_any_order_are_found() -> None:
    lines = ("Ask the pilot for a berth", "The lower gate is closed", "Cargo goes to the timber yard")
    mixed = "\n".join(lines[number * number % 7 % 3] for number in range(90))
    checked = check(f"{LETTER}\n{mixed}", verbatim(ink_share=0.2))

    assert not {Fault.REPEATED_LINES, Fault.TAIL_REPETITION}.isdisjoint(checked.faults)
    assert checked.clean_prefix.startswith(LETTER)
    assert len(checked.clean_prefix) < len(LETTER) + 300


def test_a_sheet_of_equal_labels_is_no_loop_where_its_layer_says_the_same() -> None:
    sheet = "\n\n".join(["Granite Quay 4\nNorth Harbour"] * 30)

    assert Fault.TAIL_REPETITION in faults(sheet, page_context(sheet, layer=False))
    assert faults(sheet, page_context(sheet, layer=True)) == set()


@pytest.mark.parametrize(
    ("language", "content", "expected"),
    [
        ("de", "Die Seite zeigt eine Karte des Hafens mit zwei Schleusen.", set()),
        ("de", "The page shows a map of the harbour with two locks.", {Fault.WRONG_LANGUAGE}),
        ("de", "На странице показана карта порта с двумя шлюзами.", {Fault.WRONG_SCRIPT}),
        ("de", "Titelblatt von „The Old Man and the Boats of the Northern Sea“ mit einem Segelschiff.", set()),
        ("ja", "這一頁是港口的地圖，上面標有兩座船閘和一座燈塔，右邊還有比例尺。", {Fault.WRONG_LANGUAGE}),
        ("zh", "這一頁是港口的地圖，上面標有兩座船閘和一座燈塔。", set()),
        ("nb", "Siden viser et kort over havnen med to sluser og et fyrtårn.", set()),  # Danish
        ("pt-BR", "A página mostra um mapa do porto com duas eclusas.", set()),
        ("de", "Karte", set()),  # too short to tell
        (
            "de",
            "Die Seite zeigt eine Karte des Hafens. Sie nennt zwei Schleusen und einen Leuchtturm am nördlichen Ufer. "
            "The lower gate is being repaired and all cargo goes to the timber yard. Ask the pilot for a berth.",
            {Fault.WRONG_LANGUAGE},
        ),
    ],
)
def test_a_description_is_in_its_language(language: str, content: str, expected: set[Fault]) -> None:
    assert faults(content, prose_context(language, content)) == expected


def test_a_text_is_in_the_language_of_its_page() -> None:
    assert faults("На странице показана карта порта.", replace(verbatim(), ink_share=0.1)) == set()


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("I’m unable to view images. Please upload the picture.", True),
        ("Leider kann ich dieses Bild nicht beschreiben.", True),
        ("申し訳ありませんが、画像を説明できません。", True),
        ("Dear Sir, I am sorry that I cannot come on Friday.", False),
        ("I cannot see the lighthouse from the quay, she wrote.", False),
    ],
)
def test_a_refusal_is_told_from_an_apology(content: str, refused: bool) -> None:
    assert (Fault.REFUSAL in faults(content, verbatim())) is refused


def test_a_refusal_about_a_page_of_few_words_shares_none_of_them() -> None:
    refusal = "I'm sorry, but I can't transcribe this image."
    context = page_context("pilot berth 7", layer=True)
    assert faults(refusal, context) == {Fault.REFUSAL}
    assert Fault.REFUSAL not in faults(refusal, replace(context, layer_text="I'm sorry: this image is not ours"))


def test_an_echo_of_the_question_is_found() -> None:
    context = verbatim()

    assert faults(context.prompt, context) == {Fault.PROMPT_ECHO}
    assert Fault.PROMPT_ECHO in faults(f"Add no comments and no code fences.\n{LETTER}", context)


def test_a_closed_question_is_answered_in_a_word() -> None:
    closed = replace(
        verbatim(), kind=AnswerType.CLOSED, prompt="Is there a table? Answer yes or no.", max_tokens=8, tokens_out=1
    )

    assert faults("Yes", closed) == set()
    assert faults("", closed) == {Fault.EMPTY_ON_INK}


@pytest.mark.parametrize(
    ("text", "layer", "expected"),
    [
        ("one two three four five six seven eight", "eight seven six five four three two one", 1.0),
        ("one two three four", "one two three four five six seven eight", 2 * 4 / 12),
        ("ein zwei drei", "one two three four five six seven eight", 0.0),
        ("anything", "too short", None),
    ],
)
def test_overlap_counts_words_in_any_order(text: str, layer: str, expected: float | None) -> None:
    assert overlap(text, layer) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.slow
def test_the_bounds_hold_for_sources_that_nothing_was_tuned_on() -> None:
    answers = [*labelled(made_pages(11, 6), 11), *labelled_prose(11)]
    told = scores(answer for answer in answers if held_out(answer.source))

    assert told[CLEAN].cases >= 500
    assert 1 - told[CLEAN].share <= 0.01, told[CLEAN].wrong
    assert {label: score.wrong for label, score in told.items() if score.share < 0.98} == {}
    assert len(told) >= 18


@pytest.mark.parametrize(
    "raw",
    [
        "<think>A notice.</think>\n{0}",
        "It is a notice.\n</think>\n{0}",
        "<|im_start|>assistant\n{0}<|im_end|>",
        '{{"text": {1}}}',
        "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n{0}",
        "{0}\n\nNote: The text was transcribed as it appears in the image.",
        "<!-- image -->\n{0}",
    ],
)
def test_wrapping_of_models_and_servers_is_taken_off(raw: str) -> None:
    assert check(raw.format(LETTER, json.dumps(LETTER)), verbatim()).content == LETTER


def test_wrapping_stays_where_the_page_shows_it() -> None:
    page = f"<think>A notice.</think>\n{LETTER}"
    assert check(page, page_context(page, layer=True)).content == page


def test_words_about_pictures_are_the_page_where_its_ink_holds_no_more() -> None:
    text = "The image shows the harbour in 1890. The photograph was taken from the mole."
    full = 64 * len(text.replace(" ", "")) / (842 * 1191)

    assert faults(text, verbatim(glyph_px=8.0, ink_share=full)) == set()
    assert faults(text, verbatim(glyph_px=8.0, ink_share=8 * full)) == {Fault.NOT_A_COPY}


def test_equal_labels_are_no_loop_where_the_ink_holds_them() -> None:
    sheet = "Granite Quay Trading\n12 Mole Street, Northgate\n\n" * 24
    full = 64 * len("".join(sheet.split())) / (842 * 1191)

    assert faults(sheet, verbatim(glyph_px=8.0, ink_share=full)) == set()
    assert faults(sheet, verbatim(glyph_px=8.0, ink_share=full / 4)) >= {Fault.TAIL_REPETITION}


def test_a_part_of_the_layer_and_its_words_in_disorder_are_found() -> None:
    words = LETTER.split()
    context = page_context(LETTER, layer=True)

    assert faults(" ".join(words[: len(words) // 2]), context) == {Fault.INCOMPLETE}
    assert faults(" ".join(words[::-1]), context) == {Fault.DISORDER}
