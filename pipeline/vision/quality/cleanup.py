"""Takes off what a model or its server puts around an answer, where the page does not show it itself.

Each step names one wrapping: thoughts, tokens of the chat, labels of roles, fences, JSON, tags, LaTeX, notes before and
after, placeholders of pictures. A step looks at the beginning and the end of the answer, or at whole lines: words
within a sentence are the page's. What a step takes off and the text layer holds, stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import takewhile

from pipeline.core.text import clean_text
from pipeline.vision.quality.tokens import letters

#: Rounds of all steps: a fence in a note in a fence is the deepest wrapping seen.
MAX_ROUNDS = 4
#: Names under which models put the text into a JSON object.
_TEXT_KEYS = ("natural_text", "text", "content", "markdown", "transcription", "ocr_text", "output", "result", "answer")
_THOUGHT = r"(?:think|thinking|thought|reasoning|analysis|reflection|scratchpad)"
_CLOSED_THOUGHT = re.compile(rf"\A\s*<({_THOUGHT})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(rf"^<{_THOUGHT}>", re.MULTILINE | re.IGNORECASE)
_THOUGHT_END = re.compile(rf"</{_THOUGHT}>", re.IGNORECASE)
_TOKEN = (
    r"(?:<[|｜][^|｜<>\n]{1,40}[|｜]>|</?s>|\[/?INST\]"
    r"|<(?:bos|eos|pad|image|start_of_turn|end_of_turn|eot)>|\|assistant\|)"
)
_TOKENS_AROUND = re.compile(rf"\A(?:\s|{_TOKEN})+|(?<=\S)(?:\s*{_TOKEN})+\s*\Z", re.IGNORECASE)
#: A pair of tokens with a name or coordinates between them.
_PAIRED = re.compile(
    r"<\|(\w{1,30}?)(?:_start)?\|>[^<>\n]{0,200}(?:<\|/\1\|>|<\|\1_end\|>)|^\[\[\d[\d, \[\]]{3,80}\]\][ \t]*\n?",
    re.MULTILINE,
)
_ROLE = re.compile(
    r"\A\W{0,4}(?:(?:assistant|model|bot)\s*[:：\n]|#{1,4} ?(?:output|response|answer|assistant|antwort"
    r"|réponse|respuesta|ответ)"
    r"\W{0,3}\n|(?:ocr )?(?:output|response|transcription|transcript|extracted text) ?:[ \t]*\n)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"\A\W{0,4}(?:(?:user|human)\s?:|#{1,4} ?instruction|<image>|\[img-\d)", re.IGNORECASE)
_ANSWERED = re.compile(r"^\W{0,4}(?:assistant\s?:|#{1,4} ?(?:output|response)\W{0,3}\n)", re.IGNORECASE | re.MULTILINE)
_PROMPT_LINE = re.compile(r"\A\[img-\d+\][^\n]{0,200}\n")
_FENCED = re.compile(
    r"\A(?:```|~~~)[\w-]*[ \t]*\n(?P<inside>(?:(?!^(?:```|~~~)).)*?)\n?(?:```|~~~)?\Z", re.DOTALL | re.MULTILINE
)
_ELEMENT = re.compile(r"\A<([a-z][\w-]{1,30})>(?P<inside>.*)</\1>\Z", re.DOTALL | re.IGNORECASE)
_LAYOUT_TAG = re.compile(
    r"</?(?:doctags?|loc_\d+|section_header_level_\d|page_header|page_footer|list_item|unordered_list"
    r"|ordered_list|otsl"
    r"|text|title|caption|paragraph|heading|footnote|picture|formula|page_text)>",
    re.IGNORECASE,
)
_INLINE_TAG = re.compile(r"</?(?:p|b|i|u|em|strong|mark|sub|sup|math|span|div|br|h[1-6])\s?/?>", re.IGNORECASE)
_BRACKET_LABEL = re.compile(r"^\[/?[A-Z]{3,12}\][ \t]*(?:\n|\Z)", re.MULTILINE)
_MARKER = (
    r"[*_\[<({=\- ]{1,8}(?:begin|start|end)?[ :_]{0,2}(?:of )?(?:the )?(?:image|page|document)?[ _]?"
    r"(?:ocr|text|transcription|transcript|page|document)[ _]?(?:begin|start|end)?[*_\]>)}=\- ]{1,8}"
)
_MARKERS_AROUND = re.compile(rf"\A{_MARKER}\n|\n{_MARKER}\Z", re.IGNORECASE)
_LATEX_LINE = re.compile(r"^[ \t]*\${0,2}\\(?:text|mathrm|textbf|textit)\{([^\n]*)\}\${0,2}[ \t]*$", re.MULTILINE)
_BOXED = re.compile(r"\A\${0,2}\\(?:boxed|text|mathrm)\{(?P<inside>.*)\}\${0,2}\Z", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"^[ \t#>*]*(?:!\[[^\]\n]{0,200}\]\([^()\n]{0,2000}\)|<!--[^\n]{0,60}?-->|</?(?:image|img|figure"
    r"|picture)[^<>\n]{0,80}>"
    r"|\[(?:image|img|picture|figure|photo|bild|abbildung|imagen|图片|圖片"
    r"|画像)(?:[ :#-][^\[\]\n]{0,60})?\])[ \t*]*(?:\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_CONSENT = re.compile(
    r"\A(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|gerne|natürlich|selbstverständlich|bien sûr"
    r"|avec plaisir|certainement|claro|por supuesto|certo|certamente|com certeza|natuurlijk|oczywiście|конечно"
    r"|tabii(?: ki)?|elbette|بالتأكيد|بالطبع|好的|当然|當然|はい|もちろん(?:です)?"
    r"|물론(?:입니다|이죠)?|네)[!.,。，！، 、،]\s*",
    re.IGNORECASE,
)
#: One line that announces the answer: a pointing word, the name of the requested content, a colon.
_PREAMBLE = re.compile(
    r"\A(?=[^\n:：]{0,40}?(?:\bhere(?:'s|’s| is| are)|\bbelow is|\bthe following|\bthis is the"
    r"|\bthe (?:full )?text (?:in|from|of|on)"
    r"|\bhier (?:ist|sind|is|volgt|folgt)|\bder text|\bvoici|\ble texte|\baquí (?:está|tienes|tiene)"
    r"|\bel texto|\ba continuación|\becco|\bil testo"
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
#: A last paragraph in which the model speaks of its work or offers more of it.
_NOTE = re.compile(
    r"\A\W{0,4}(?:"
    r"(?:note|please note|hinweis|anmerkung|remarque|nota|примечание|not|ملاحظة|注意?|注記"
    r"|참고)\b[^\n]{0,30}[:：]?(?=[^\n]{0,200}?"
    r"(?:transcri|transkri|image\b|wiedergegeben|im bild|imagen|extract|изображен|görsel|الصورة|图片|画像|이미지))"
    r"|(?:let me know|feel free|i hope this helps|is there anything else|if you (?:need|have|would like)"
    r"|how can i help"
    r"|lassen sie mich|kann ich (?:ihnen )?(?:sonst|noch)|n'hésitez pas|puis-je|¿(?:en qué|hay algo)|avíseme"
    r"|дайте знать|могу ли я)"
    r"|(?:transcri|transkri|texte? extrait|text extracted)\w*\b(?=[^\n]{0,100}?(?:image|bild|imagen|изображ))"
    r")[^\n]{0,300}\Z",
    re.IGNORECASE,
)
#: A turn of a person that the model invents after its answer.
_NEXT_TURN = re.compile(
    r"\n[ \t]{0,8}(?:human|user) ?: [^\n?]{0,20}\n[ \t]{0,8}assistant ?: .*\Z", re.IGNORECASE | re.DOTALL
)
_FRONT_MATTER = re.compile(r"\A---\n(?P<lines>(?:[\w-]{1,40}: ?[^\n]{0,80}\n){1,12})---\n")


def clean_answer(content: str, empty_answer: str | None, layer_text: str | None = None) -> tuple[str, bool]:
    """Return an answer without its wrapping, and whether it is the agreed word for an empty answer, then "".

    Small models add a full stop, quotes or capitals of their own to that word.
    """
    text = strip_wrapping(clean_text(content), layer_text)
    is_empty = empty_answer is not None and letters(text) == letters(empty_answer)
    return "" if is_empty else text, is_empty


def strip_wrapping(content: str, layer_text: str | None = None) -> str:
    """Return an answer without wrapping; what the text layer holds stays."""
    text = content.strip()
    for _ in range(MAX_ROUNDS):
        before = text
        for step in _STEPS:
            text = _unless_shown(step, text, layer_text).strip()
        if text == before:
            break
    return text


def _unless_shown(step: Callable[[str], str], text: str, layer_text: str | None) -> str:
    stripped = step(text)
    if layer_text is None or stripped == text:
        return stripped
    lost = _removed(text, stripped)
    return text if letters(lost) and letters(lost) in letters(layer_text) else stripped


def _removed(text: str, stripped: str) -> str:
    """Return what a step took off at the beginning, or else at the end; the whole text where it changed more."""
    kept = stripped.strip()
    if kept and text.rstrip().endswith(kept):
        return text.rstrip()[: -len(kept)]
    return text[len(kept) :] if kept and text.startswith(kept) else ""


def _without_thoughts(text: str) -> str:
    text = _CLOSED_THOUGHT.sub("", text)
    end, start = _THOUGHT_END.search(text), _OPEN_THOUGHT.search(text)
    if end and not start and not re.search(rf"<{_THOUGHT}>", text[: end.start()], re.IGNORECASE):
        return text[end.end() :]
    return text[: start.start()] if start and not _THOUGHT_END.search(text, start.end()) else text


def _without_turns(text: str) -> str:
    text = _PROMPT_LINE.sub("", text)
    if _ASKED.match(text) and (answered := _ANSWERED.search(text)):
        text = text[answered.end() :]
    return _NEXT_TURN.sub("", _ROLE.sub("", text, count=1))


def _without_fence(text: str) -> str:
    fenced = _FENCED.match(text)
    return fenced["inside"] if fenced else text


def _without_json(text: str) -> str:
    if text[:1] not in '{["' or len(text) < 2:
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _text_of(found) or text


def _text_of(found: object) -> str | None:
    """Return the text in a decoded answer: a string, an object with a field for it, a list of these."""
    if isinstance(found, str):
        return found
    if isinstance(found, dict):
        named = [found[key] for key in _TEXT_KEYS if isinstance(found.get(key), str)]
        return named[0] if named else None
    if isinstance(found, list) and found and all(isinstance(entry, dict) for entry in found):
        parts = [_text_of(entry) for entry in found]
        return "\n".join(part for part in parts if part) if any(parts) else None
    return None


def _without_tags(text: str) -> str:
    if element := _ELEMENT.match(text):
        return element["inside"]
    if text.startswith("<") and _LAYOUT_TAG.match(text):
        return _LAYOUT_TAG.sub("", text)
    return _INLINE_TAG.sub("", text) if _is_marked_up(text) else text


def _is_marked_up(text: str) -> bool:
    """Whether most lines begin and end with a tag of formatting: a page that shows source code has other tags too."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    tagged = sum(bool(_INLINE_TAG.match(line)) and line.endswith(">") for line in lines)
    return tagged > 0.6 * len(lines)


def _without_latex(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(_LATEX_LINE.findall(text)) > 0.6 * len(lines):
        return _LATEX_LINE.sub(r"\1", text)
    boxed = _BOXED.match(text)
    return boxed["inside"] if boxed else text


def _without_front_matter(text: str) -> str:
    matter = _FRONT_MATTER.match(text)
    return text[matter.end() :] if matter and "_" in matter["lines"] else text


def _without_preamble(text: str) -> str:
    consent = _CONSENT.match(text)
    rest = text[consent.end() :] if consent else text
    if preamble := _PREAMBLE.match(rest):
        return rest[preamble.end() :]
    # "Sure!" alone is a preamble only on a line of its own: pages begin with such words too.
    return rest if consent and "\n" in consent[0] else text


def _without_note(text: str) -> str:
    head, gap, last = text.rpartition("\n\n")
    return head if gap and head.strip() and _NOTE.match(last.strip()) else text


def _without_labels(text: str) -> str:
    """Take off labels of sections in brackets that come in pairs."""
    found = _BRACKET_LABEL.findall(text)
    names = {label.strip().strip("[]/") for label in found}
    paired = all(f"[{name}]" in text and f"[/{name}]" in text for name in names)
    return _BRACKET_LABEL.sub("", text) if found and paired else text


def _without_placeholders(text: str) -> str:
    """Take off lines that stand for a picture; an answer of nothing else becomes empty."""
    rest = _PLACEHOLDER.sub("", text)
    return rest if letters(rest) or not list(takewhile(str.isspace, text)) else text


_STEPS: tuple[Callable[[str], str], ...] = (
    _without_thoughts,
    lambda text: _PAIRED.sub("", text),
    lambda text: _TOKENS_AROUND.sub("", text),
    _without_turns,
    _without_fence,
    _without_json,
    _without_tags,
    _without_labels,
    _without_front_matter,
    _without_latex,
    lambda text: _MARKERS_AROUND.sub("", text),
    _without_preamble,
    _without_note,
    _without_placeholders,
)
