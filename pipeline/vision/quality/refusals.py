"""Detects refusals: answers that say that the model cannot or will not answer, in about twenty languages."""

from __future__ import annotations

import re

#: A refusal is short, and its beginning shows it.
REFUSAL_MAX_CHARACTERS = 400
REFUSAL_HEAD_CHARACTERS = 240
#: By language: an apology and, within a few words, an inability.
_APOLOGIES = (
    (
        r"\b(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|regret)\b",
        r"\b(?:can(?:'t|not| not)|could(?:n't| not)|unable|not able|impossible|not possible|won't|(?:do not"
        r"|don't) have)\b",
    ),
    (
        r"\b(?:leid|leider|entschuldig\w*|bedau\w+|verzeih\w*)\b",
        r"\b(?:kann|könn\w+|darf|nicht in der lage|außerstande|unmöglich|nicht möglich|keine? möglichkeit)\b",
    ),
    (
        r"\b(?:désolée?|navrée?|excuse\w*|pardon|malheureusement|regrette)\b",
        r"\b(?:peux|puis|pouvons|pouvoir|mesure|capable|impossible|parviens|arrive)\b",
    ),
    (
        r"\b(?:siento|lamento|lamentablemente|disculp\w+|perdón|perdona|desafortunadamente)\b",
        r"\b(?:puedo|podemos|poder|podré|posible|capaz|imposible|tengo)\b",
    ),
    (
        r"\b(?:dispiace|spiacente|scus\w+|purtroppo)\b",
        r"\b(?:posso|possiamo|poter|riesco|grado|impossibile|possibile)\b",
    ),
    (
        r"\b(?:desculp\w+|lamento|sinto muito|infelizmente|perdão|lamentavelmente)\b",
        r"\b(?:posso|podemos|poder|consigo|capaz|possível|impossível)\b",
    ),
    (r"\b(?:sorry|spijt|helaas|excus\w+)\b", r"\b(?:kan|niet in staat|onmogelijk|niet mogelijk|mag)\b"),
    (r"\b(?:tyvärr|ledsen|förlåt|beklagar?|desværre|dessverre|undskyld|unnskyld)\b", r"\b(?:kan|inte|ikke)\b"),
    (
        r"\b(?:przepraszam|przykro|niestety|wybacz\w*)\b",
        r"\bnie (?:mogę|potrafię|jestem|mam|umiem|da się|jest możliwe|możemy)\b",
    ),
    (r"\b(?:omlouvám|bohužel|promiňte|je mi líto|lituji)\b", r"\b(?:nemohu|nemůžu|nejsem|nedokážu|neumím|nelze)\b"),
    (r"извин|жалени|прост|прощени|сожале|увы", r"не (?:могу|можем|в состоянии|спос|имею|уда|умею|получ)|невозможн"),
    (r"вибач|на жаль|перепрош|пробач", r"не (?:можу|в змозі|здат|маю|вда|вмію)|неможлив"),
    (r"üzgün|maalesef|özür|kusura|ne yazık", r"\w[ae]mam\b|\w[ae]mem\b|\w[ae]m[ıi]yor|mümkün değil"),
    (r"\b(?:maaf|sayangnya)\b", r"\b(?:tidak|tak) (?:bisa|dapat|mampu)"),
    (r"xin lỗi|rất tiếc", r"không thể|không có khả năng"),
    (r"عذر|آسف|أعتذر|للأسف|معذرة", r"لا [أا]ستطيع|لا يمكن|غير قادر|لست قادر|تعذر|لا أملك|لا أقدر"),
    (r"抱歉|对不起|對不起|遗憾|遺憾|不好意思|很难过", r"无法|無法|不能|没有办法|没办法|不支持|没有能力|無能"),
    (r"申し訳|すみません|恐れ入り|ごめん|残念", r"ません|できない|できかね|いたしかね|不可能"),
    (r"죄송|미안|유감|아쉽", r"수 없|수가 없|없습니다|못합니다|못해|어렵습니다|불가"),
    (r"माफ|क्षमा|खेद|दुख", r"नहीं|असमर्थ"),
)
#: Inabilities without an apology. A model that names itself (`as an AI`) begins a sentence with it.
_INABILITIES = (
    r"\b(?:i|we) (?:can(?:'t|not| not)|could(?:n't| not)|(?:am|are) (?:unable|not able) to|do(?:n't| not)"
    r"|won't(?: be able to)?) (?:\w+ )?(?:help|assist|provide|process|view|see|read|describe|transcribe|fulfil|comply"
    r"|access|identify|extract|translate|answer|discuss|make out|have (?:access|the ability))",
    r"(?:^|[.!,。，！] ?)as an? (?:ai|artificial|language model|large language)",
    r"\b(?:unable|not able) to (?:assist|process|provide|view|describe|transcribe|read|comply|fulfil"
    r"|access|extract|see|help|identify)\b",
    r"\b(?:please|could you) (?:upload|provide|attach|share|send) (?:me )?(?:an?|the"
    r"|your) (?:\w+ )?(?:image|picture|file|photo|document|page)",
    r"\b(?:ich kann|kann ich|ich darf|ich bin)\b.{0,60}\b(?:nicht|keine?n?)\b.{0,20}(?:helfen|beantworten"
    r"|beschreiben|verarbeiten|lesen|sehen|erkennen|in der lage|weiterhelfen|unterstützen|wiedergeben"
    r"|transkribieren|erfüllen|ansehen|anzeigen|analysieren)",
    r"(?:^|[.!,。，！] ?)als (?:ki|sprachmodell|künstliche)\b",
    r"\bje (?:ne|n')\s?(?:peux|suis|puis|parviens|arrive|ai) pas .{0,60}(?:aider|décrire|lire|traiter|voir"
    r"|répondre|fournir|transcrire|mesure|capable|analyser|accéder|visualiser|accès)",
    r"(?:^|[.!,。，！] ?)en tant qu(?:e |')(?:ia|intelligence|modèle|assistant)",
    r"\bno (?:puedo|podemos|me es posible|soy capaz|tengo) .{0,40}(?:ayudar|describir|leer|procesar|ver"
    r"|responder|proporcionar|transcribir|analizar|acceder|cumplir|acceso|capacidad)",
    r"(?:^|[.!,。，！] ?)como (?:una? )?(?:ia\b|inteligencia|inteligência"
    r"|modelo de (?:lenguaje|linguagem)|modelo de ia|assistente)",
    r"\bnon (?:posso|sono in grado|riesco|ho) .{0,40}(?:aiutar|descriver|legger|elaborar|veder|risponder"
    r"|fornir|trascriver|analizzar|accesso|visualizzar)",
    r"(?:^|[.!,。，！] ?)(?:come|in quanto) (?:ia\b|intelligenza|modello)",
    r"\bnão (?:posso|consigo|sou capaz|tenho) .{0,40}(?:ajudar|descrever|ler|processar|ver|responder"
    r"|fornecer|transcrever|analisar|atender|acesso|visualizar)",
    r"\bik kan .{0,60}\b(?:niet|geen)\b.{0,20}(?:helpen|beschrijven|lezen|verwerken|zien|beantwoorden|bekijken)",
    r"\bnie (?:mogę|potrafię|jestem w stanie) .{0,40}(?:pomóc|opisać|odczytać|przetworzyć|zobaczyć"
    r"|odpowiedzieć|przeanalizować|wyświetlić)",
    r"\bя не (?:могу|в состоянии|умею|способ\w+) .{0,40}(?:помочь|описать|прочитать|обработать|видеть"
    r"|ответить|увидеть|распознать|просматривать|анализировать)",
    r"(?:^|[.!,。，！] ?)как (?:ии\b|искусственный|языковая модель)",
    r"(?:لا أستطيع|لا يمكنني|لست قادرا|لست قادرًا) .{0,30}(?:مساعد|وصف|قراءة|معالجة|رؤية|تقديم|عرض)",
    r"我(?:无法|無法|不能|没有能力)(?:为您|帮您|直接|為您)?(?:查看|看到|提供|识别|描述|处理|協助|协助|帮助|回答|读取|識別|處理|分析)",
    r"(?:^|[.!,。，！] ?)作为(?:一个|一名)?(?:人工智能|ai|语言模型|大型语言)",
    r"(?:画像|リクエスト|ご要望|ご質問).{0,30}(?:ことができません|ことはできません|お手伝いできません|対応できません|表示されていません)",
)
_REFUSALS = re.compile(
    "|".join((*(f"(?:{apology}).{{0,80}}(?:{cannot})" for apology, cannot in _APOLOGIES), *_INABILITIES))
)
#: Pages contain apologies too. A model's refusal names the task in its first sentences.
_TASK = re.compile(
    r"imag|pictur|photo|\btext|texto|testo|document|\bfile|archivo|arquivo|datei|fichier|descri|transcri|transkri|décri|beschr|opis|"
    r"\bpage|\bai\b|model|\bassist\b|assistance|help|request|question"
    r"|bild|seite|dokument|anfrage|frage"
    r"|helfen|\bki\b|demande|aider|contenu|solicit|ayudar|pregunta|contenido|immagin|richiesta|aiutar"
    r"|imagem|ajudar|pedido"
    r"|afbeelding|helpen|verzoek|pagina|página|obraz|pomóc|zdjęci|prośb|stron|hjälp|hjelp|hjælp|\bsidan?\b|\bsiden?\b|obráz"
    r"|žádost|pomoci|stránk"
    r"|изображ|помочь|запрос|картин|текст|страниц|зображ|допомог|запит|сторінк|görsel|resim|resm|görüntü"
    r"|yardım|istek|isteğ"
    r"|sayfa|metn|gambar|bantu|halaman|permintaan|hình|ảnh|giúp|trang|yêu cầu|صور|مساعد|طلب|النص|الصفح|图|圖"
    r"|请求|請求|內容|内容"
    r"|帮助|幫助|协助|協助|页|頁|画像|リクエスト|手伝い|要望|対応|お答え|ページ|이미지|도와|도움|요청|사진|페이지|चित्र|छवि|तस्वीर|मदद|सहायता|अनुरोध|पृष्ठ"
)


def is_refusal(text: str) -> bool:
    """Return whether an answer is a refusal in one of the languages of `_REFUSALS`."""
    if not 0 < len(text) <= REFUSAL_MAX_CHARACTERS:
        return False
    head = " ".join(text[:REFUSAL_HEAD_CHARACTERS].casefold().replace("’", "'").split())
    return _REFUSALS.search(head) is not None and _TASK.search(head) is not None
