"""The sandbox imports no models: what it has to name again has the names that these give."""

from __future__ import annotations

from typing import get_args

from pipeline.core.models import LayerState
from pipeline.rendering.sandbox.pdf.text_layer_quality import LayerState as LayerStates


def test_layers_have_the_same_states_on_both_sides() -> None:
    assert set(get_args(LayerStates)) == {state.value for state in LayerState}
