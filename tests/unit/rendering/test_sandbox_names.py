"""The sandbox imports no models: what it has to name again has the names that these give."""

from __future__ import annotations

from typing import get_args

from pipeline.core.models import LayerState, MediaType, Route
from pipeline.rendering.sandbox.child import CONTAINERS, PDF
from pipeline.rendering.sandbox.image.document import FORMATS
from pipeline.rendering.sandbox.page_image.finish import LayerState as LayerStates


def of_route(route: Route) -> set[str]:
    return {kind.value for kind in MediaType if kind.route is route}


def test_each_format_of_a_route_has_its_decoder() -> None:
    assert set(FORMATS) == of_route(Route.IMAGE)
    assert set(CONTAINERS) == of_route(Route.CONTAINER)
    assert {PDF} == of_route(Route.PDF)


def test_layers_have_the_same_states_on_both_sides() -> None:
    assert set(get_args(LayerStates)) == {state.value for state in LayerState}
