"""Holds what `pagesight inspect --json` tells against what `pagesight index` and `failures` tell of the same files."""

from __future__ import annotations

from typing import Any


def failures_told(inspected: dict[str, Any]) -> set[tuple[str, int | None, str]]:
    """What would fail: path, page (None: the whole file) and class of error."""
    return {
        (file["path"], number, failure["type"])
        for file in inspected["files"]
        if file["status"] != "repeated"
        for failure in file["failures"]
        for number in failure["pages"] or [None]
    }


def assert_agrees(inspected: dict[str, Any], indexed: dict[str, Any], failures: list[dict[str, Any]]) -> None:
    """Every document and page ends as it was told, and for the reason that was told, in a first run."""
    totals = inspected["totals"]
    assert totals["complete"]
    assert failures_told(inspected) == {(one["path"], one["page_number"], one["type"]) for one in failures}
    assert totals["documents"] == indexed["documents"]
    assert sum(totals["pages"].values()) == sum(indexed["pages"].values())
    assert totals["pages"]["blank"] == indexed["pages"].get("blank", 0)
    assert totals["pages"]["failed"] == indexed["pages"].get("failed", 0)
    # What was the same as something asked before cost nothing.
    assert totals["calls"] == indexed["model_calls"] + indexed["cached_answers"]
