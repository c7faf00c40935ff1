"""Compares a copy of a page with the page's own text layer: words, their order, and how much of the layer is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import pairwise

from pipeline.vision.quality.tokens import terms

#: A layer with fewer words than this is not evidence.
LAYER_MIN_TERMS = 8
#: Below the first overlap of words an answer belongs to another page. Below the second it does so if hardly any two
#: words follow one another as in the layer: pages of one document share words, but not their order.
MIN_AGREEMENT = 0.45
SURE_AGREEMENT = 0.8
MIN_PAIR_AGREEMENT = 0.2
#: Least share of the layer's words that a copy has. Good copies leave out a line in twenty, and running heads.
MIN_COVERAGE = 0.65
#: A copy with this many times the words of the layer says them more than once.
REPEATED_LENGTH = 1.5
#: Words that stand once in both texts and whose neighbour in the copy comes before them in the layer: so many, and this
#: share. A block in another place makes one; columns that are read across make one a line.
MIN_STEPS_BACK = 6
STEPS_BACK_SHARE = 0.08
#: Share of a copy's lines with cells. A table may be read by rows or by columns.
TABLE_LINES = 0.3


def overlap(text: str, layer_text: str) -> float | None:
    """Return the overlap of two texts' words as multisets, 0 to 1 (Dice's coefficient).

    None if the layer has too few words.
    """
    layer_terms = terms(layer_text)
    return _dice(terms(text), layer_terms) if len(layer_terms) >= LAYER_MIN_TERMS else None


def disagrees_with_layer(text: str, layer_text: str, agreement: float) -> bool:
    """Return whether a copy belongs to another page than the layer; `agreement` is their overlap of words."""
    if agreement < MIN_AGREEMENT or agreement >= SURE_AGREEMENT:
        return agreement < MIN_AGREEMENT
    return _dice(pairwise(terms(text)), pairwise(terms(layer_text))) < MIN_PAIR_AGREEMENT


def is_part_of_layer(text: str, layer_text: str) -> bool:
    """Return whether a copy has much fewer words than the layer, and hardly any others."""
    copied, whole = Counter(terms(text)), Counter(terms(layer_text))
    common = (copied & whole).total()
    return common < MIN_COVERAGE * whole.total() and common >= SURE_AGREEMENT * copied.total()


def repeats_layer(text: str, layer_text: str) -> bool:
    """Return whether a copy says the layer's words more than once."""
    copied, whole = Counter(terms(text)), Counter(terms(layer_text))
    is_longer = copied.total() >= REPEATED_LENGTH * whole.total()
    return is_longer and sum(copied[term] for term in whole) >= SURE_AGREEMENT * copied.total()


def is_in_disorder(text: str, layer_text: str) -> bool:
    """Return whether a copy's words are the layer's, but in an order in which nobody can read them."""
    lines = [line for line in text.splitlines() if line.strip()]
    if sum("|" in line or "\t" in line for line in lines) > TABLE_LINES * len(lines):
        return False
    places = {term: place for place, term in enumerate(_once(layer_text))}
    order = [places[term] for term in _once(text) if term in places]
    back = sum(after < before for before, after in pairwise(order))
    return back >= MIN_STEPS_BACK and back > STEPS_BACK_SHARE * len(order)


def _once(text: str) -> list[str]:
    """Return the words that a text has once, in its order."""
    found = terms(text)
    counts = Counter(found)
    return [term for term in found if counts[term] == 1]


def _dice(first: Iterable[Hashable], second: Iterable[Hashable]) -> float:
    one, other = Counter(first), Counter(second)
    return 2 * (one & other).total() / max(1, one.total() + other.total())
