"""`python tests/jina_standin [--port N] [--key KEY] [--model NAME] [--read] [--until-stdin-closes]`."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

# Started as a folder, only the folder itself is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jina_standin.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for jina-vlm's endpoint.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--key", default=None, help="the one key that is accepted; without, no key is asked for")
    parser.add_argument("--model", default="jina-vlm")
    parser.add_argument("--read", action="store_true", help="answer with what RapidOCR reads in the image")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    given = parser.parse_args()
    reader = None
    if given.read:
        from jina_standin.reading import ImageReader

        reader = ImageReader()
    with Server(given.port, given.key, given.model, reader) as server:
        print(server.url, flush=True)  # noqa: T201
        if not given.until_stdin_closes:
            server.serve_forever()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
