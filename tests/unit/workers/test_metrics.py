import re
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.batches.handlers import MessageReport
from pipeline.core.models import PageStatus
from pipeline.core.retry import Waiting
from pipeline.pages.page_services import Stage
from workers.observability.metrics import Ending, Metrics
from workers.redis.queues import LANES


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A sample as Prometheus would read it."""
    text = generate_latest(metrics.registry).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"pagesight_{name}" and sample.labels == labels:
                return float(sample.value)
    return None


def test_ranges_add_up_by_status_and_by_how_they_ended() -> None:
    metrics = Metrics()
    statuses = [PageStatus.DESCRIBED, PageStatus.DESCRIBED, PageStatus.FAILED]

    metrics.message_handled(MessageReport(Counter(statuses), cached_answers=4, sources=2))
    metrics.message_handled(MessageReport(Counter(statuses[:1]), sources=1), "handed_back")

    assert value(metrics, "pages_total", status="described") == 3
    assert value(metrics, "pages_total", status="failed") == 1
    assert value(metrics, "sources_total") == 3
    assert value(metrics, "cached_answers_total") == 4
    assert value(metrics, "ranges_total", outcome="done") == 1
    assert value(metrics, "ranges_total", outcome="handed_back") == 1


def test_what_a_reader_has_asked_in_all_is_not_counted_twice() -> None:
    metrics = Metrics()

    metrics.usage(3, 3000, 120)
    metrics.usage(3, 3000, 120)
    metrics.usage(5, 5000, 200)

    assert value(metrics, "model_calls_total") == 5
    assert value(metrics, "model_tokens_total", direction="in") == 5000
    assert value(metrics, "model_tokens_total", direction="out") == 200


def test_nothing_is_waited_for_any_more_shows_as_zero() -> None:
    metrics = Metrics()

    metrics.waiting(Waiting("elasticsearch", "it is away", time.time() - 100))
    assert value(metrics, "waiting_seconds", service="elasticsearch") == pytest.approx(100, abs=50)

    metrics.waiting(Waiting("jina-vlm", "it is cold", time.time() + 3600))
    assert value(metrics, "waiting_seconds", service="elasticsearch") == 0
    assert value(metrics, "waiting_seconds", service="jina-vlm") == 0

    metrics.waiting(None)
    assert value(metrics, "waiting_seconds", service="jina-vlm") == 0


def test_depths_and_slots_are_as_they_were_last() -> None:
    metrics = Metrics()

    metrics.depths({"urgent": 2, "backfill": 100_000})
    metrics.depths({"urgent": 0, "backfill": 99_999})
    metrics.unacknowledged(7)
    metrics.busy(3, 4)

    assert value(metrics, "queue_depth", lane="urgent") == 0
    assert value(metrics, "queue_depth", lane="backfill") == 99_999
    assert value(metrics, "unacknowledged") == 7
    assert (value(metrics, "slots_busy"), value(metrics, "slots")) == (3, 4)


def test_the_fleet_is_in_one_state() -> None:
    metrics = Metrics()

    metrics.fleet("running")
    metrics.fleet("halted")

    assert value(metrics, "fleet", state="halted") == 1
    assert value(metrics, "fleet", state="running") == 0


def test_a_stage_is_measured_also_where_it_failed() -> None:
    metrics = Metrics()

    with metrics.stage("render"):
        pass
    with pytest.raises(ValueError), metrics.stage("render"):
        raise ValueError

    assert value(metrics, "stage_seconds_count", stage="render") == 2


def exercised() -> Metrics:
    """Metrics in which every value of every closed label has occurred."""
    metrics = Metrics()
    for ending in get_args(Ending):
        metrics.message_handled(MessageReport(Counter(list(PageStatus))), ending)
    for stage in get_args(Stage):
        with metrics.stage(stage):
            pass
    metrics.usage(1, 1, 1)
    metrics.depths(dict.fromkeys(LANES, 0))
    metrics.unacknowledged(0)
    metrics.waiting(Waiting("a service of any name", "it is away", time.time()))
    metrics.fleet("running")
    metrics.busy(0, 1)
    return metrics


def metrics_of_code() -> dict[str, dict[str, set[str]]]:
    """Labels and their values, by metric."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(exercised().registry).decode()):
        if family.name.startswith("pagesight_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            values: dict[str, set[str]] = found.setdefault(name, defaultdict(set))
            for sample in family.samples:
                for label in sample.labels.keys() - {"le"}:
                    values[label].add(sample.labels[label])
    return found


def metrics_of_table(text: str) -> dict[str, dict[str, set[str]]]:
    """The same, as the rows of a table have it: `name{label}` in one cell, every value of the label in the next."""
    rows = re.findall(r"^\| `(pagesight_\w+)(?:\{(\w+)\})?` \| (.*) \|$", text, re.MULTILINE)
    return {name: {label: set(re.findall(r"`([^`]+)`", cell))} if label else {} for name, label, cell in rows}


def operations() -> str:
    return (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_documented_metrics_are_those_of_the_code_with_labels_and_their_values() -> None:
    documented, real = metrics_of_table(operations()), metrics_of_code()
    real["pagesight_waiting_seconds"]["service"] = set()  # any service may be waited for

    assert documented == real


def test_the_documented_alerts_use_metrics_labels_and_values_of_the_code() -> None:
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", operations(), re.DOTALL)
    expressions = " ".join(rule["expr"] for rule in yaml.safe_load(rules)["groups"][0]["rules"])
    real = metrics_of_code()

    assert set(re.findall(r"pagesight_\w+", expressions)) <= set(real)
    selectors = re.findall(r'(pagesight_\w+)\{(\w+)="(\w+)"\}', expressions)
    assert selectors
    assert [each for each in selectors if each[2] not in real[each[0]].get(each[1], ())] == []


def test_two_workers_in_one_process_do_not_meet() -> None:
    first, second = Metrics(), Metrics()

    first.usage(1, 1, 1)

    assert value(second, "model_calls_total") == 0
