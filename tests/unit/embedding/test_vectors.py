"""Vectors are checked when they arrive, and packed without loss that matters."""

from __future__ import annotations

import math

import pytest

from pipeline.embedding.vectors import checked, pack, unpack


def test_a_vector_comes_back_from_the_archive():
    vector = checked([3.0, 4.0, 0.0], 3)
    assert vector == (0.6, 0.8, 0.0)
    assert unpack(pack(vector), 3) == pytest.approx(vector, abs=1e-6)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 0.0, 0.0], [math.nan, 1.0, 1.0], [math.inf, 1.0, 1.0]])
def test_a_vector_without_a_direction_is_refused(values: list[float]):
    with pytest.raises(ValueError, match="a vector"):
        checked(values, 3)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", pack((1.0, 0.0)), pack((0.0, 0.0, 0.0))])
def test_a_damaged_vector_is_none(text: str):
    assert unpack(text, 3) is None
