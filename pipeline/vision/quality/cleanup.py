"""Removes the wrapping of an answer: code fences, and preambles such as "Here is the text:"."""

from __future__ import annotations

import re

from pipeline.vision.quality.tokens import letters

_FENCED = re.compile(r"\A```[\w-]*[ \t]*\n(?P<inside>.*?)\n?(?:```)?\Z", re.DOTALL)
_CONSENT = re.compile(
    r"\A(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|gerne|natürlich|selbstverständlich|bien sûr"
    r"|avec plaisir|certainement|claro|por supuesto|certo|certamente|com certeza|natuurlijk|oczywiście|конечно"
    r"|tabii(?: ki)?|elbette|بالتأكيد|بالطبع|好的|当然|當然|はい|もちろん(?:です)?"
    r"|물론(?:입니다|이죠)?|네)[!.,。！，、،]\s*",
    re.IGNORECASE,
)
#: One line that announces the answer: a pointing word, the name of the requested content, a colon.
_PREAMBLE = re.compile(
    r"\A(?=[^\n:：]{0,40}?(?:\bhere(?:'s|’s| is| are)|\bbelow is|\bthe following|\bthis is the"
    r"|\bthe (?:full )?text (?:in|from|of|on)"
    r"|\bhier (?:ist|sind|is|volgt|folgt)|\bder text|\bvoici|\ble texte|\baquí (?:está|tienes|tiene)"
    r"|\bel texto|\becco|\bil testo"
    r"|\baqui está|\bo texto|\bde tekst|\boto|\bвот|\bтекст на|\bişte|\başağıda|إليك|فيما يلي|النص|以下|这是"
    r"|這是|图片中|こちら|画像|다음은|이미지))"
    r"(?=[^\n:：]{0,120}?(?:\btext\b|transcri|description|\bcaption|\bimage\b|translation|beschreibung"
    r"|transkription|übersetzung"
    r"|\bbild|\btexte\b|légende|traduction|\btexto|descripción|transcripción|traducción|imagen|\btesto"
    r"|descrizione|trascrizione"
    r"|traduzione|immagine|descrição|transcrição|tradução|imagem|\btekst|afbeelding|beschrijving"
    r"|transcriptie|opis|obraz"
    r"|текст|описани|изображени|перевод|metin|metni|açıklama|görsel|النص|نص|الصورة|وصف|ترجمة|文本|文字|描述|图片|圖片|翻译"
    r"|テキスト|文章|説明|画像|翻訳|텍스트|이미지|설명|번역))"
    r"[^\n:：]{1,160}[:：]\s*(?=\S)",
    re.IGNORECASE,
)


def clean_answer(content: str, empty_answer: str | None, layer_text: str | None = None) -> tuple[str, bool]:
    """Return an answer without fence and preamble, and whether it is the agreed word for an empty answer, then "".

    Small models add a full stop, quotes or capitals of their own to that word.
    """
    text = _strip_wrapping(content, layer_text)
    is_empty = empty_answer is not None and letters(text) == letters(empty_answer)
    return "" if is_empty else text, is_empty


def _strip_wrapping(content: str, layer_text: str | None) -> str:
    """Remove a code fence around an answer and a preamble such as "Here is the text:".

    A beginning that also occurs in the page's text layer is part of the page and stays.
    """
    text = content.strip()
    rest = _strip_preamble(text)
    if rest != text and not _is_in(text[: len(text) - len(rest)], layer_text):
        text = rest
    if fenced := _FENCED.match(text):
        text = fenced["inside"].strip()
    return text


def _strip_preamble(text: str) -> str:
    consent = _CONSENT.match(text)
    rest = text[consent.end() :] if consent else text
    if preamble := _PREAMBLE.match(rest):
        return rest[preamble.end() :]
    # "Sure!" alone is a preamble only on a line of its own: pages begin with such words too.
    return rest if consent and "\n" in consent[0] else text


def _is_in(text: str, layer_text: str | None) -> bool:
    return layer_text is not None and letters(text) in letters(layer_text)
