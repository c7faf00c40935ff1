"""Guesses of encodings: languages, each in the encodings in which its files are found."""

from __future__ import annotations

import pytest

from pipeline.rendering.code_pages import ARCHIVE_NAMES, SAMPLE_BYTES, TEXT, decode_text, guess

WORDS = {
    "German": ("Prüfung Köln.pdf Rechnung März.pdf", "cp437 cp850 cp1252"),
    "German, one letter": ("Größe.pdf", "cp437 cp850 cp1252"),
    "French": ("Procès-verbal été 2024.pdf Déclaration reçue.pdf", "cp437 cp850 cp1252"),
    "Spanish": ("Señal año.pdf Información.pdf", "cp437 cp850 cp1252"),
    "Portuguese": ("Declaração São João.pdf", "cp850 cp1252"),
    "Danish": ("Årsrapport Ærø grøn.pdf", "cp850 cp1252"),
    "Polish": ("Zażółć gęślą jaźń.pdf Umowa najmu łódź.pdf", "cp852 cp1250"),
    "Czech": ("Příloha číslo šest žádost.pdf", "cp852 cp1250"),
    "Hungarian": ("Szerződés fűtés.pdf", "cp852 cp1250"),
    "Russian": ("Отчет за март.pdf Договор аренды.pdf", "cp866 cp1251 koi8_r"),
    "Russian, one word": ("Акт.pdf", "cp866 cp1251 koi8_r"),
    "Russian, capitals": ("ОТЧЕТ ЗА МАРТ.pdf", "cp866 cp1251 koi8_r"),
    "Ukrainian": ("Звіт за їхній рік.pdf", "cp1251 koi8_u"),
    "Greek": ("Αναφορά εξόδων.pdf", "cp737 cp1253"),
    "Turkish": ("Sözleşme değişiklik yılı.pdf", "cp857 cp1254"),
    "Hebrew": ("חוזה שכירות.pdf", "cp862 cp1255"),
    "Arabic": ("عقد الإيجار.pdf", "cp1256"),
    "Japanese": ("請求書2024年.pdf 見積り.pdf", "cp932 euc_jp"),
    "Japanese, katakana": ("テスト.pdf", "cp932 euc_jp"),
    "Japanese, kanji": ("契約書.pdf", "cp932"),
    "Chinese": ("合同 审计报告.pdf", "gb18030"),
    "Chinese, traditional": ("合約 審計報告.pdf", "big5"),
    "Korean": ("계약서 보고서.pdf", "cp949"),
}
#: Encodings of which each is a part of one of the candidates.
PARTS = {"koi8_r": "koi8_u"}


@pytest.mark.parametrize("language", WORDS)
def test_names_and_texts_are_read_as_they_were_written(language: str) -> None:
    words, encodings = WORDS[language]
    for encoding in encodings.split():
        data = words.encode(encoding)
        for candidates in (ARCHIVE_NAMES, TEXT):
            if PARTS.get(encoding, encoding) in candidates:
                assert data.decode(guess([data], candidates)) == words, (encoding, candidates[0])


def test_one_name_that_says_little_is_read_as_the_others_are() -> None:
    names = [name.encode("cp852") for name in ("zakład.pdf", "Zażółć gęślą jaźń.pdf")]
    assert guess(names, ARCHIVE_NAMES) == "cp852"


def test_bytes_that_are_no_words_get_the_first_encoding_that_can_hold_them() -> None:
    assert guess([b"ascii"], ARCHIVE_NAMES) == "cp437"
    assert guess([b"\x81\x8d\x8f\x90\x9d"], ["cp1252", "cp437"], hint="no such codec") == "cp437"


def test_a_text_is_read_by_its_mark_as_utf8_or_by_its_letters() -> None:
    text = "Größe und Maß\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        assert decode_text(text.encode(encoding)) == text, encoding
    long = "審計報告" * SAMPLE_BYTES
    assert decode_text(long.encode("big5")) == long
