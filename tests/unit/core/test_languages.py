import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.languages import (
    base,
    detect_language,
    detect_languages,
    english_name,
    is_in_language,
    normalise_tag,
    script_share,
)


@pytest.mark.parametrize(
    ("given", "tag"), [("DE", "de"), ("zh_hant", "zh-Hant"), ("pt-br", "pt-BR"), ("sr-Latn", "sr-Latn")]
)
def test_a_tag_is_brought_to_its_usual_spelling(given: str, tag: str) -> None:
    assert normalise_tag(given) == tag


@pytest.mark.parametrize("given", ["", "klingonese", "x", "12", "de; drop", "und", "mul", "zxx", "qqq"])
def test_what_is_no_language_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="not a language tag"):
        normalise_tag(given)


def test_a_language_is_named_in_english() -> None:
    assert english_name("de") == "German"
    assert english_name("zh-Hant") == "Chinese (Traditional)"
    assert base("zh-Hant") == "zh"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Quarterly revenue grew by twelve percent", "en"),
        ("Der Umsatz wuchs im dritten Quartal deutlich", "de"),
        ("会社の売上は昨年より大きく増加した", "ja"),
        ("Η ανακοίνωση του λιμεναρχείου αφορά όλους", "el"),
        ("الإيرادات الفصلية للشركة", "ar"),
        ("Figure 3", None),  # in no language
        ("1,234.50 2,345.60 3,456.70", None),
        ("", None),
        (None, None),
    ],
)
def test_a_text_is_in_a_language_or_that_cannot_be_told(text: str | None, language: str | None) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("text", "tag", "expected"),
    [
        ("Eine Karte des Hafens mit zwei Schleusen", "de", True),
        ("Eine Karte des Hafens mit zwei Schleusen", "fr", False),
        ("Карта луке са две преводнице и једним светиоником", "sr", True),
        ("Karta luke sa dve prevodnice i jednim svetionikom", "sr", True),
        ("Karta luke sa dve prevodnice i jednim svetionikom", "sr-Cyrl", False),
        ("Karta luke s dvije prevodnice i jednim svjetionikom", "bs", True),
        ("Kort over havnen med to sluser og et fyrtårn", "nb", True),
        ("Peta pelabuhan dengan dua pintu air dan mercusuar", "ms", True),
        ("港口地圖，標有兩座船閘和一座燈塔，右側附有比例尺", "zh-Hans", True),
        ("港口地圖，標有兩座船閘和一座燈塔，右側附有比例尺", "ja", False),
        ("二つの水門と灯台が記された港の地図と縮尺が示されている", "zh", False),
        ("แผนที่ท่าเรือแสดงประตูน้ำสองแห่งและประภาคาร", "th", True),
        ("منارة وبوابتان على خريطة الميناء القديم", "he", False),
        ("Ang mapa ng daungan ay may dalawang pinto ng tubig at isang parola", "tl", True),
        ("Ang mapa ng daungan ay may dalawang pinto ng tubig at isang parola", "fil", True),
        ("Figure 3", "de", None),
        ("", "de", None),
    ],
)
def test_a_text_is_in_the_language_asked_for_or_not(text: str, tag: str, expected: bool | None) -> None:
    assert is_in_language(text, tag) is expected


def test_letters_of_other_scripts_are_counted() -> None:
    assert script_share("Hafen", "de") == 1
    assert script_share("порт Hafen", "de") == pytest.approx(5 / 9)
    assert script_share("порт", "de") == 0
    assert script_share("1 234", "de") is None


LETTERHEAD = """Northgate Harbour Board, Customs and Shipping Department
12 Quay Street, Great Northgate, open from Monday to Friday
Registered office and place of business as above
"""
LETTER = """Sehr geehrte Damen und Herren,

wir teilen Ihnen mit, dass die nördliche Schleuse von Montag bis Donnerstag geschlossen bleibt, weil das untere Tor
ausgebessert wird. Die Ladung für den Granitkai wird am alten Holzlager gelöscht; wegen eines Liegeplatzes wenden
Sie sich bitte vor zwölf Uhr an den Lotsen. Wir bitten um Verständnis und danken Ihnen für Ihre Geduld.
"""


def test_a_letterhead_does_not_name_the_language_of_the_letter() -> None:
    assert detect_language(LETTERHEAD + LETTER) == "de"


def test_a_page_of_several_languages_names_them_by_their_share() -> None:
    assert detect_languages(LETTERHEAD + LETTER) == ("de", "en")
    assert detect_languages(LETTERHEAD * 3 + LETTER) == ("en", "de")


def test_a_quotation_is_not_a_further_language() -> None:
    assert detect_languages(LETTER * 4 + "The quay is closed for repairs until noon.") == ("de",)


def test_close_languages_are_not_named_beside_each_other() -> None:
    norwegian = "Havnen er stengt til torsdag. Kapteinen melder seg hos losen før klokken tolv. Lasten losses her.\n"
    assert len(detect_languages(norwegian * 12)) == 1


def test_the_detector_reads_two_thousand_characters_without_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        assert detect_language("a 1 " * 20 + LETTER) == "de"
    assert not caplog.records
