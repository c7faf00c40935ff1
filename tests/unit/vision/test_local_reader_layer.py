import pytest

from pipeline.core.models import LayerState, PageFacts
from pipeline.rendering.sandbox.pdf.text_layer_quality import state_of
from pipeline.vision.quality.text_layer import stands_for_page

ENGLISH = "Figure 1. Goods handled in each quarter, in thousands of tonnes. Containers grew in every quarter."


def page(ink_share: float = 0.05, is_vector: bool = True, layer: LayerState = LayerState.SOUND) -> PageFacts:
    return PageFacts(ink_share=ink_share, picture_share=None, colours=(), is_vector=is_vector, layer=layer)


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        "Die Hafengebühren bleiben unverändert. Schiffe, die Landstrom beziehen, erhalten einen Nachlass.",
        "Οι επιβάτες παρακαλούνται να βρίσκονται στο λιμάνι μισή ώρα πριν από την αναχώρηση.",
        "電線接続端子部が次のいずれにも該当しないとき。ａ ねじ止め端子であること。ｂ ねじなし端子であって",  # no spaces
        "يجب على الركاب الحضور إلى الميناء قبل نصف ساعة",
        "यात्रियों से अनुरोध है कि वे आधा घंटा पहले बंदरगाह पहुँचें",  # vowel signs are marks, not letters
        "1 040 412 19\n680 96 31\n210 58 44\n75 2 904 2\n2 005 3 481 6",  # a table of numbers
        "Contents\nThe year on the quays ................................ 1\nGoods handled . . . . . . . . . . . . . 2",
        "Strč prst skrz krk. Vlk zmrzl, zhltl hrst zrn.",  # short Czech without vowels: too little to judge
    ],
)
def test_plausible_text_of_any_script_stands_for_page(text: str) -> None:
    assert state_of(text, 1) == "sound"
    assert stands_for_page(text, page())


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH.replace("e", "\ufffd"),  # a font that maps some glyphs to nothing
        "".join(chr(0xF000 + ord(c)) if c != " " else c for c in ENGLISH),  # symbol font: private use
        '!"#$%&\'()*+ ,-./:;<=>?@ [\\]^_`{|}~ !"#$%& ()*+,-./',  # glyph numbers taken for characters
        " ".join(ENGLISH.replace(" ", "")),  # letters set apart one by one
        ENGLISH.replace(" ", "").replace(".", "").replace(",", ""),  # words without spaces
        # every letter shifted by three: a subset font without mapping
        "".join(chr((ord(c) - 97 + 3) % 26 + 97) if c.isalpha() else c for c in 2 * ENGLISH.lower()),
    ],
)
def test_broken_text_is_garbage_and_nobodys_evidence(text: str) -> None:
    assert state_of(text, 1) == "garbage"
    assert not stands_for_page(text, page(layer=LayerState.GARBAGE))


@pytest.mark.parametrize("text", ["—", "3 %", "A B C\nA1 B1 C1\nA2 B2 C2", "☎ ✉ 🌴🐢🐐🍄⚽ abc"])
def test_little_text_tables_and_signs_are_no_garbage(text: str) -> None:
    assert state_of(text, 1) == "sound"


def test_what_cannot_be_seen_is_invisible_however_good_it_looks() -> None:
    assert state_of(ENGLISH, 0.79) == "invisible"
    assert state_of(ENGLISH, 0.8) == "sound"
    assert state_of(None, 1) == "none"
    assert not stands_for_page(ENGLISH, page(layer=LayerState.INVISIBLE))
    assert not stands_for_page(None, page(layer=LayerState.NONE))


def test_a_layer_over_a_scan_is_not_trusted_however_good_it_looks() -> None:
    assert stands_for_page(ENGLISH, page(is_vector=True))
    assert not stands_for_page(ENGLISH, page(is_vector=False))


def test_a_few_letters_are_enough_where_they_are_all_the_ink() -> None:
    assert stands_for_page("Page 17", page(ink_share=0.001))
    assert not stands_for_page("Page 17", page(ink_share=0.05))
