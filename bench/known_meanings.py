"""Paraphrases of the five sentences of `page_sentences`, in other words, in eight languages; made up for this project.

A paraphrase is about all translations of its sentence. Every second one, by a seed, is kept aside: nothing was tuned on
those.
"""

from __future__ import annotations

import random

#: By BCP 47 tag: paraphrases of the sentences, by their numbers.
PARAPHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        "how much wheat and corn is shipped abroad each year",
        "digitised correspondence bearing an official seal",
        "price list for replacement components of a machine",
        "carpenters mending a timber crossing in winter",
        "procedure for getting holidays granted",
    ),
    "de": (
        "wie viel Korn jährlich über See verkauft wird",
        "digitalisiertes Schreiben mit amtlichem Siegel",
        "Preisliste für Austauschteile einer Maschine",
        "Zimmerleute reparieren im Winter einen Steg",
        "Ablauf, bis freie Tage bewilligt sind",
    ),
    "fr": (
        "quantité de blé vendue à l'étranger par an",
        "courrier numérique avec un sceau officiel",
        "tarif des composants pour remplacer une machine usée",
        "charpentiers qui remettent en état une passerelle en hiver",
        "marche à suivre pour obtenir des vacances",
    ),
    "es": (
        "cuánto trigo se vende al extranjero cada año",
        "correspondencia digitalizada con sello oficial",
        "lista de costes de recambios para máquinas",
        "carpinteros que arreglan una pasarela en invierno",
        "procedimiento para que concedan días libres",
    ),
    "it": (
        "quanto grano viene venduto all'estero ogni anno",
        "corrispondenza digitale con un sigillo ufficiale",
        "listino dei ricambi di una macchina",
        "falegnami che aggiustano una passerella d'inverno",
        "procedura per ottenere giorni liberi",
    ),
    "nl": (
        "hoeveel tarwe er per jaar naar het buitenland gaat",
        "gedigitaliseerde correspondentie met een officieel zegel",
        "prijslijst van reserveonderdelen voor een machine",
        "timmerlieden maken in de winter een loopbrug",
        "procedure om vrije dagen te krijgen",
    ),
    "pl": (
        "ile pszenicy sprzedaje się co roku za granicę",
        "cyfrowa korespondencja z urzędową pieczęcią",
        "cennik podzespołów do maszyn",
        "cieśle zimą remontują kładkę",
        "procedura uzyskania dni wolnych",
    ),
    "ru": (
        "сколько пшеницы продают за границу каждый год",
        "оцифрованная переписка с официальной печатью",
        "прайс-лист деталей для замены в машине",
        "плотники зимой ремонтируют переправу",
        "порядок получения выходных дней",
    ),
}
SEED = 16


def paraphrases(kept_aside: bool) -> list[tuple[str, str, int]]:
    """Return language, words and number of the sentence of one half of the paraphrases."""
    every = [(tag, words, number) for tag, several in PARAPHRASES.items() for number, words in enumerate(several)]
    random.Random(SEED).shuffle(every)
    return every[::2] if kept_aside else every[1::2]
