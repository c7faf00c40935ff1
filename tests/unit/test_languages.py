import pytest

from pipeline.errors import SettingsError
from pipeline.languages import base, detect_language, english_name, normalise_tag


@pytest.mark.parametrize(
    ("given", "tag"), [("DE", "de"), ("zh_hant", "zh-Hant"), ("pt-br", "pt-BR"), ("sr-Latn", "sr-Latn")]
)
def test_a_tag_is_brought_to_its_usual_spelling(given: str, tag: str) -> None:
    assert normalise_tag(given) == tag


@pytest.mark.parametrize("given", ["", "klingonese", "x", "12", "de; drop", "und", "mul", "zxx", "qqq"])
def test_what_is_no_language_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="no language tag"):
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
