"""Detects answers that talk about the page, the picture or the model, instead of copying the page.

Words alone are weak evidence: pages speak of pictures and of errors too. So most rules also need a page whose ink holds
more than the answer (`surplus`). The patterns name a topic and a claim, in about ten languages, at the beginning of a
short answer or in its last bracket.
"""

from __future__ import annotations

import re

#: Characters of an answer in which a rule looks for its topic.
HEAD_CHARACTERS = 300
#: A longer answer does not only say that nothing can be read.
EXCUSE_MAX_CHARACTERS = 260
#: A longer answer is not only a caption, an error or a label.
CAPTION_MAX_CHARACTERS = 160
ERROR_MAX_CHARACTERS = 400

#: So many marks of unreadable words, and more of them than words, are not a transcription.
UNREADABLE_MARKS = 5

_MEDIUM = (
    r"(?:\b(?:images?|pictures?|photo\w*|screenshot|scan\w*|documents?|pages?|slide|texts?|content|input"
    r"|bild\w*|foto\w*|aufnahme|dokument\w*|seite|folie|texte?s?|eingabe"
    r"|l'image|capture|contenu|diapositive|imagen|imágenes|captura|documento|página|texto|contenido"
    r"|immagine|pagina|testo|imagem|afbeelding|tekst|görsel\w*|resim|belge|sayfa|metin)\b"
    r"|изображен|картин|фото|снимок|документ|страниц|текст|صورة|المستند|وثيقة|النص"
    r"|图|圖|照片|文档|文件|页面|文字|画像|写真|文書|書類|이미지|사진|문서|चित्र|छवि|तस्वीर|दस्तावेज|पाठ)"
)
_MACHINE = (
    r"(?:\b(?:(?:language )?models?|capabilit\w+|policy|filter\w*|response|output|modell|ausgabe"
    r"|inhaltsrichtlinie|fähigkeiten"
    r"|modèle|capacités|modelo|capacidades)\b|модел|возможност|模型|能力|モデル|모델)"
)
_DENIAL = (
    r"(?:\b(?:no|not|\w+n't|cannot|unable|without|nothing|none|kein\w*|nicht|nichts|aucune?|pas|rien"
    r"|ningun\w*|ningún|nada"
    r"|non|nessun\w*|não|nenhum\w*|geen|niet|нет|не|нельзя|yok\w*|değil|\w+m[ae]miş|\w+m[ae]z)\b"
    r"|لا |ليس|غير|没有|沒有|无法|無法|不|未|无|ない|ません|없|नहीं)"
)
_UNREADABLE = (
    r"(?:\b(?:unreadable|illegible|blurry|blurred|blocked|filtered|unsupported|limited|unleserlich|unscharf"
    r"|verschwommen"
    r"|blockiert|gefiltert|beschränkt|illisible|floue?|limitent|ilegible|borros[oa]|illeggibile|onleesbaar"
    r"|okunam\w+|bulanık)\b"
    r"|неразборчив|размыт|заблокир|ограничен|нечитаем|模糊|无法辨认|屏蔽|不鮮明|判読不能)"
)
_EXCUSE = re.compile(rf"(?=.{{0,260}}?(?:{_MEDIUM}|{_MACHINE}))(?=.{{0,260}}?(?:{_DENIAL}|{_UNREADABLE}))")
_ONLY_UNREADABLE = re.compile(rf"(?:(?:an? |the )?{_UNREADABLE}(?: {_MEDIUM})?\W*)+")
_MARK = re.compile(_UNREADABLE)
_MISSING = re.compile(
    rf"(?=.{{0,200}}?{_MEDIUM})(?=.{{0,200}}?{_DENIAL})(?=.{{0,200}}?(?:attach|provid|upload|sent|übermittel"
    rf"|hochgelad|adjunt|proporcion"
    r"|fourni|jointe?|загру|прикреп|yükle|上传|提供|添付|アップロード|첨부))"
)
_ARTICLE = r"(?:\w{1,8}['’ ]\s?|这|该|此|这是|这张|這張|この|在){0,4}"
_DESCRIPTION = re.compile(rf"{_ARTICLE}(?:provided |given |uploaded |attached )?{_MEDIUM}")
_REMARK = re.compile(
    r"\W*(?:summary|key points|overview|zusammenfassung|résumé|resumen|краткое содержание|摘要|总结)\b"
    r"|(?:the |die |le |el )?(?:title|heading|header|überschrift|titre|título) (?:reads|says|is|lautet|ist"
    r"|indique|dice)\b"
    r"|(?:language|sprache) ?:|.{0,40}\bfinal answer is\b"
)
_LAYOUT = re.compile(
    r"\b(?:printed|handwritten|heading|signature|logo|caption|gedruckt\w*|handschriftlich\w*|überschrift"
    r"|unterschrift|imprimée?"
    r"|manuscrite?|titre|impreso|encabezado|firma)\b|печатн|рукописн|заголов|подпис|印刷|手写|标题|签名|見出し|署名"
)
_CHAT = re.compile(
    r"how (?:can|may) i (?:help|assist)|(?:is there|do you have) (?:anything|something) else"
    r"|kann ich (?:ihnen |dir )?(?:\w+ ){0,2}(?:helfen|tun)"
    r"|(?:en qué|cómo) puedo ayudar|comment puis-je|puis-je (?:faire|vous)|чем (?:я )?могу (?:вам )?помочь"
    r"|nasıl yardımcı"
    r"|(?:什么|怎么|如何).{0,6}帮|お手伝い(?:でき|し)|무엇을 도와|come posso aiutar|como posso ajudar"
)
_THINKING = re.compile(
    r"\W*(?:okay|ok|alright|all right|got it|hmm|let me|let's see|so,|first,|好的|好，|嗯|首先)"
    r"(?=.{0,300}?(?:\bthe user\b|\blet me\b|\blet's\b|\bi need to\b|\bi should\b|\bwait\b|\bnutzer\b"
    r"|\bich muss\b|用户|我需要))"
)
_ERROR = re.compile(
    r"\W{0,3}(?:\w+\W{1,3})?(?:(?:api|http|server|internal|fatal|runtime|value) )?(?:error|fehler|erreur"
    r"|exception|traceback)\b"
    r"(?:[ \"']{0,3}:|.{0,60}?\b[45]\d\d\b)|\W{1,4}type\W{1,6}error\b"
)
_MACHINE_TEXT = re.compile(
    r"<tool_call>|\[tool_calls\]|\{\s*\"(?:type|name)\"\s*:\s*\"[\w.]{1,60}\"\s*,\s*\"(?:function|arguments"
    r"|parameters)\""
    r"|\[?\s*\{\s*\"(?:bbox|box|category|text|content|natural_text)\"\s*:|(?:!\[[^\]]{0,99}\]\()?data:image/"
    r"|(?:<\w+>\s*){0,3}<loc_\d"
)
_LEFT_OUT = re.compile(
    r"\b(?:rest|remaining|remainder|continues|omitted|skipped|truncated|not transcribed|restliche[rs]?"
    r"|ausgelassen|gekürzt|nicht transkribiert"
    r"|le reste|omise?s?|pas été transcrit|omitid[oa]|resto)\b|省略|略去|пропущен|опущен|以下同様|後略"
)
_BRACKET = re.compile(r"[\[(（【…](?P<inside>[^\[\]()（）【】\n]{3,200})[\])）】…][.\s]*\Z")


def says_unreadable(text: str, *, surplus: bool) -> bool:
    """Return whether a short answer says that there is nothing to read or that the model cannot read it."""
    line = _normalised(text)
    if _ONLY_UNREADABLE.fullmatch(line) or _is_mostly_unreadable(line):
        return True
    return surplus and len(line) <= EXCUSE_MAX_CHARACTERS and _EXCUSE.match(line) is not None


def _is_mostly_unreadable(line: str) -> bool:
    marks = len(_MARK.findall(line))
    return marks >= UNREADABLE_MARKS and 2 * marks > len(line.split())


def says_missing(text: str) -> bool:
    """Return whether a short answer says that no picture was sent."""
    line = _normalised(text)
    return len(line) <= EXCUSE_MAX_CHARACTERS and _MISSING.match(line) is not None


def is_talk(text: str, *, surplus: bool) -> bool:
    """Return whether an answer describes the page, thinks aloud, chats, or is a machine's output."""
    line = _normalised(text)
    head = line[:HEAD_CHARACTERS]
    if _MACHINE_TEXT.match(text.casefold()) or _THINKING.match(head):
        return True
    if not surplus:
        return False
    caption = len(line) <= CAPTION_MAX_CHARACTERS and _LAYOUT.search(line) is not None
    return caption or any(rule(head) for rule in (_DESCRIPTION.match, _REMARK.match, _CHAT.search))


def is_error(text: str) -> bool:
    """Return whether an answer is the error message of a server."""
    return len(text) <= ERROR_MAX_CHARACTERS and _ERROR.match(" ".join(text.casefold().split())) is not None


def says_left_out(text: str) -> bool:
    """Return whether an answer ends with a bracket that says that a part was left out."""
    bracket = _BRACKET.search(text)
    return bracket is not None and _LEFT_OUT.search(bracket["inside"].casefold()) is not None


def _normalised(text: str) -> str:
    """Return a text as one line in lower case, without marks of Markdown and quotation around its words."""
    plain = re.sub(r"[*_#>\"“”„«»`\[\]]+", " ", text.casefold().replace("’", "'"))
    return " ".join(plain.split())
