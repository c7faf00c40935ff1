"""`make kibana`: write the files in `mappings/kibana/`. Run it as `python -m tools.kibana` in the repository."""

from __future__ import annotations

from pathlib import Path

from pipeline.kibana.bundle import lines
from tools.kibana.building import build

FOLDER = Path(__file__).parents[2] / "mappings" / "kibana"


def main() -> None:
    """Write each file. The installer imports these files as they are committed."""
    for name, objects in build().items():
        (FOLDER / name).write_text(lines(objects), encoding="utf-8")


if __name__ == "__main__":
    main()
