"""`make kibana`: write `mappings/kibana/` anew."""

from __future__ import annotations

from pathlib import Path

from pipeline.kibana.building import build, lines


def main() -> None:
    """Write each file; what is committed is what is installed."""
    folder = Path(__file__).parents[2] / "mappings" / "kibana"
    for name, built in build().items():
        (folder / name).write_text(lines(built), encoding="utf-8")


if __name__ == "__main__":
    main()
