"""Known items: pages, and queries that must find one of them, by the kind of query. All made up for this project.

The pages are the sentences of `page_sentences` in 35 languages, and files with telling names, numbers and codes. The
changed queries are made from words of the pages by fixed rules and a fixed seed.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

from pipeline.core.languages import base
from support.page_records import page
from support.page_sentences import SENTENCES

SEED = 15
#: Scripts without spaces or without letters that can be mistaken for each other in these ways.
_OTHER_SCRIPTS = frozenset("ar he fa hi bn ta th ja zh-Hans zh-Hant ko sr ru uk bg el".split())


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the id of the document of the only page that it is about."""

    kind: str
    words: str
    document: str


#: Name of the file, folder, text, language: files whose names or numbers are looked for.
_FILES = (
    ("invoice_4711_final.pdf", "Mietvertrag", "Total amount payable within thirty days.", "en"),
    ("IMG_20240131_0007.pdf", "camera", "Snow on the roof of the boathouse.", "en"),
    ("QuarterlyReportDraft.pdf", "reports2023", "Turnover rose in the second quarter.", "en"),
    ("big bad wolf.pdf", "Fairy Tales", "Once upon a time in the forest.", "en"),
    ("eng_spa_mult.doc", "translations", "The contract has two columns.", "en"),
    ("minutes 2024-05-12.pdf", "Board", "The chair opened the meeting at nine.", "en"),
    ("Rechnung-Müller&Söhne.pdf", "Straßenbau", "Zahlbar ohne Abzug innerhalb von vierzehn Tagen.", "de"),
    (
        unicodedata.normalize("NFD", "Übergabeprotokoll_Küche.pdf"),
        "Wohnung",
        "Schlüssel übergeben, Zähler gelesen.",
        "de",
    ),
    ("café_naïve_résumé.odt", "divers", "Une page sans titre.", "fr"),
    ("scan0042.tif", "Boîte 12", "Registre des entrées.", "fr"),
    ("Señor Muñoz (copia 2).pdf", "cartas", "Le escribo para confirmar la visita.", "es"),
    ("請求書2024年5月.pdf", "経理", "合計金額は税込みです。", "ja"),
    ("ΑΝΑΚΟΙΝΩΣΗ_λιμεναρχείου.pdf", "αρχείο", "Ο κόλπος κλείνει για λίγες μέρες.", "el"),
    ("ОтчётЗаМай.pdf", "бухгалтерия", "Итоги месяца без замечаний.", "ru"),
    ("HSBC.statement-03.2021.PDF", "bank", "Opening balance carried forward.", "en"),
    ("a.pdf", "n", "File number INV-2024-0815 refers to order 77/1234/AB.", "en"),
    ("b.pdf", "n", "Sum due: 4.711,50 EUR, account DE89 3704 0044 0532 0130 00.", "de"),
    ("c.pdf", "n", "Write to jane.doe@example.org or call +49 40 1234 567.", "en"),
    ("d.pdf", "n", "The crate weighs 25kg and is 120 cm wide, at 230V.", "en"),
    ("e.pdf", "n", "Le montant est de 1 234 567,89 € selon l'avis n° 55-8821-K.", "fr"),
    ("f.pdf", "n", "Room ２０４, ＡＢＣ ward, full width.", "en"),
    ("g.pdf", "n", "Signed on 17.03.1998, registered 1998-04-02.", "en"),
    ("h.pdf", "n", "Patent US7654321B2 and ISBN 978-3-16-148410-0.", "en"),
    ("i.pdf", "n", "Die Hafen-\ngebühren und die Liefer-\nfristen stehen im Anhang.", "de"),
    ("j.pdf", "n", "The photo-\ngraphic archive of the light-\nhouse keepers.", "en"),
    ("k.pdf", "n", "Herr Mueller aus der Hauptstrasse, Größe 44.", "de"),
    ("l.pdf", "n", "Frau Weiß aus Köln kaufte Äpfel in der Bäckerei Schröder.", "de"),
    ("m.pdf", "n", "Ingatlan-nyilvántartás, Győr, Szentlőrinc, œuvre, Ærø, Łódź, Đakovo.", "hu"),
    ("n.pdf", "n", "Isparta ve İzmir'deki ışıklar, IĞDIR ili.", "tr"),
    ("o.pdf", "n", "الــكِتَابُ القَدِيمُ في المَكْتَبَةِ، رقم ١٢٣٤", "ar"),
    ("p.pdf", "n", "שָׁלוֹם עֲלֵיכֶם", "he"),
)

#: Words as they are looked for, by the name of the file or by the language and the number of the sentence.
_ASKED: dict[str, dict[str, tuple[str, ...]]] = {
    "file name": {
        "invoice_4711_final.pdf": ("invoice 4711", "invoice_4711_final", "invoice_4711_final.pdf", "4711 final"),
        "IMG_20240131_0007.pdf": ("20240131", "IMG_20240131", "img 0007"),
        "QuarterlyReportDraft.pdf": ("quarterly report", "quarterlyreportdraft", "report draft", "reports 2023"),
        "big bad wolf.pdf": ("wolf", "big bad wolf.pdf", "fairy wolf"),
        "eng_spa_mult.doc": ("eng_spa_mult", "eng_spa_mult.doc", "spa mult", "translations"),
        "minutes 2024-05-12.pdf": ("2024-05-12", "minutes 20240512", "minutes 2024"),
        "Rechnung-Müller&Söhne.pdf": ("rechnung mueller", "Muller Sohne", "Müller Söhne", "strassenbau"),
        unicodedata.normalize("NFD", "Übergabeprotokoll_Küche.pdf"): (
            "Übergabeprotokoll",
            "uebergabeprotokoll",
            "ubergabeprotokoll kuche",
            "Küche",
        ),
        "café_naïve_résumé.odt": ("cafe", "café", "naive resume", "cafe_naive"),
        "scan0042.tif": ("scan0042", "scan 0042", "boite 12"),
        "Señor Muñoz (copia 2).pdf": ("munoz", "Muñoz copia", "senor munoz"),
        "請求書2024年5月.pdf": ("請求書", "請求書 2024"),
        "ΑΝΑΚΟΙΝΩΣΗ_λιμεναρχείου.pdf": ("ανακοίνωση", "λιμεναρχειου", "ανακοινωση"),
        "ОтчётЗаМай.pdf": ("отчет", "отчёт май", "бухгалтерия"),
        "HSBC.statement-03.2021.PDF": ("hsbc statement", "statement 2021", "hsbc.statement"),
    },
    "number": {
        "a.pdf": ("INV-2024-0815", "INV20240815", "inv 2024 0815", "77/1234/AB", "771234AB"),
        "b.pdf": ("4.711,50", "4711,50", "DE89370400440532013000", "DE89 3704 0044 0532 0130 00"),
        "c.pdf": ("jane.doe@example.org", "jane doe", "example.org", "+49401234567", "jane.doe"),
        "d.pdf": ("25kg", "25 kg", "120cm", "230 V"),
        "e.pdf": ("1234567,89", "1 234 567,89", "55-8821-K", "558821K"),
        "f.pdf": ("204 abc", "２０４"),
        "g.pdf": ("17.03.1998", "17031998", "1998-04-02", "19980402"),
        "h.pdf": ("US7654321B2", "9783161484100", "978-3-16-148410-0", "7654321"),
        "o.pdf": ("1234 الكتاب",),
    },
    "hyphenated": {
        "i.pdf": ("Hafengebühren", "Hafengebühr", "Lieferfrist"),
        "j.pdf": ("photographic", "lighthouse keeper"),
    },
    "accentless": {
        "k.pdf": ("Müller Hauptstraße", "Mueller Hauptstrasse", "Groesse", "Grosse 44"),
        "l.pdf": ("Weiss Koeln", "Weiß Köln", "Schroeder", "Schroder Backerei", "Aepfel"),
        "m.pdf": ("ingatlan nyilvantartas", "gyor szentlorinc", "oeuvre", "lodz", "dakovo"),
        "n.pdf": ("isparta", "izmir", "ışık", "iğdır", "IGDIR"),
        "o.pdf": ("الكتاب القديم", "المكتبة"),
        "p.pdf": ("שלום", "עליכם"),
    },
    "inflected": {
        "en-0": ("charts comparing exports", "port"),
        "en-1": ("letters stamped",),
        "en-3": ("photographs", "bridges", "worker repairs"),
        "en-4": ("requests", "slides explaining"),
        "de-0": ("Hafen", "Balkendiagramme", "jährlich"),
        "de-1": ("Briefe", "Seiten Stempel"),
        "de-2": ("Ersatzteil", "Nummer Gewicht", "Preis"),
        "de-3": ("Arbeitern", "Holzbrücken", "Holzbruecke"),
        "de-4": ("Urlaubsanträge", "Schritt Folien"),
        "fr-0": ("céréale", "exportation annuelle", "cereale"),
        "fr-2": ("tableaux", "pièce", "numero prix"),
        "fr-3": ("ouvrier", "photographies", "ponts"),
        "es-0": ("gráficos", "puerto", "exportación anual"),
        "es-2": ("tablas", "pieza", "precio"),
        "es-3": ("fotografías", "obrero", "puentes"),
        "it-2": ("tabelle", "pezzo", "prezzo"),
        "it-3": ("fotografie", "operaio", "ponti"),
        "pt-BR-0": ("gráficos", "porto", "exportação"),
        "pt-BR-3": ("fotografias", "trabalhador"),
        "nl-2": ("tabellen", "nummer gewicht", "prijs"),
        "nl-3": ("arbeider", "bruggen"),
        "sv-3": ("fotografi", "arbetaren"),
        "sv-1": ("stämplar", "brevet"),
        "da-3": ("fotografi", "arbejder"),
        "nb-2": ("tabellen", "reservedelene"),
        "fi-0": ("satama", "pylväskaavion"),
        "fi-2": ("varaosa",),
        "cs-3": ("fotografii", "mosty"),
        "hu-2": ("táblázatok", "alkatrész"),
        "hu-3": ("fényképek", "munkás"),
        "ro-2": ("tabelul", "piesă"),
        "ru-0": ("порты", "диаграммы", "четырех"),
        "ru-2": ("таблица", "запасная часть", "номер цена"),
        "ru-3": ("фотография", "рабочий мосты"),
        "bg-3": ("снимки", "работник"),
        "el-2": ("πίνακες", "αριθμός"),
        "el-3": ("φωτογραφίες", "φωτογραφια"),
        "tr-3": ("köprü", "fotoğraflar"),
        "tr-2": ("tablolar", "parça fiyat"),
        "ar-0": ("صادر", "مخططات"),
        "hi-2": ("तालिकाएँ",),
        "id-3": ("foto bekerja",),
        "th-3": ("สะพานไม้", "คนงาน"),
        "ja-3": ("作業員", "木の橋"),
        "zh-Hans-3": ("木桥", "工人"),
        "ko-3": ("나무다리", "일꾼"),
    },
}


def records(languages: Set[str]) -> list[dict[str, Any]]:
    """Return the records of all pages, with copies of the text for those of these languages that a page is in."""
    sentences = [
        _page(f"{tag}-{number}", f"{number}.pdf", "s", sentence, tag, languages)
        for tag, sentences in SENTENCES.items()
        for number, sentence in enumerate(sentences)
    ]
    return sentences + [_page(name, name, folder, text, tag, languages) for name, folder, text, tag in _FILES]


def queries() -> list[Query]:
    """Return all queries, by kind."""
    asked = [
        Query(kind, words, key) for kind, pages in _ASKED.items() for key, several in pages.items() for words in several
    ]
    return [*asked, *_made()]


def _page(key: str, name: str, folder: str, text: str, tag: str, languages: Set[str]) -> dict[str, Any]:
    language = base(tag)
    copies = {"i18n": {"text": {language: text}}} if language in languages else {}
    document = {"id": key, "path": [f"/{folder}/{name}"]}
    return page(name=name, document=document, text=text, language={"text": tag}, **copies)


def _made() -> Iterator[Query]:
    chance = random.Random(SEED)
    for tag, sentences in SENTENCES.items():
        for number, sentence in enumerate(sentences):
            key = f"{tag}-{number}"
            words = sorted(set(re.findall(r"\w{5,}", sentence)), key=lambda word: (-len(word), word))[:4]
            if len(words) < 2 or tag == "th":
                continue
            yield Query("exact", " ".join(words[:2]), key)
            plain = _without_accents(" ".join(words))
            if plain != " ".join(words) and tag not in {"hi", "bn", "ta", "ko", "ja"}:
                yield Query("accentless", plain, key)
            if tag in _OTHER_SCRIPTS:
                continue
            yield Query("misspelt", f"{misspelt(words[0], chance)} {words[1]}", key)
            yield Query("misspelt", misspelt(words[1], chance), key)
            confused = [word for word in map(_confused, words) if word]
            if confused:
                yield Query("OCR-confused", confused[0], key)


def misspelt(word: str, chance: random.Random) -> str:
    """Return a word with a letter too few, too many, changed, or two of them swapped; the first one is kept."""
    at = chance.randrange(1, len(word) - 1)
    letter = chance.choice("aeinrst")
    return chance.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )


def _confused(word: str) -> str | None:
    """Return a word as an OCR program reads it wrongly, or None."""
    for right, wrong in (("rn", "m"), ("m", "rn"), ("l", "1"), ("I", "l"), ("o", "0"), ("s", "ſ"), ("i", "l")):
        if right in word:
            return word.replace(right, wrong, 1)
    return None


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
