"""What a hostile file could do with a decoder that it has taken over, in each kind of child: nothing that is listed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.confinement import landlock_version

ROOT = Path(__file__).parents[3]
#: The rights of each kind of child, as an expression in the child; `{folder}` is its own folder.
RIGHTS = {
    "sandbox": "sandbox_rights(RenderLimits(60, 300, 2048, 100, 10**8, 100, 100))",
    "rapidocr": "ocr_rights(3072)",
    "tesseract": "ocr_rights(2048, program=Path('/usr/bin/tesseract'))",
    "conversion": "Confinement([*interpreter_paths()], [Path({folder!r})], [Path({folder!r})], programs=True)",
}
#: Attempts that are part of the work of children which start programs. The last one is held by namespaces only, or by
#: the kernel's count of processes, which does not count those of root.
NEEDED = {
    "sandbox": set(),
    "rapidocr": set(),
    "tesseract": {"fork", "start a program", "signal everybody", "fill the process table"},
    "conversion": {
        *("fork", "start a program", "signal everybody", "fill the process table"),
        "connect by UNIX socket",  # how LibreOffice is controlled; whose socket it is no layer can tell
    },
}
CHILD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from support import escapes
from pipeline.core.confinement import Confinement, confine, interpreter_paths
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.child import sandbox_rights
from pipeline.vision.ocr.serving import ocr_rights
confine({rights})
escapes.report(*{arguments!r})
"""


@pytest.fixture
def arguments(tmp_path: Path) -> Iterator[tuple[object, ...]]:
    """The targets of the attempts: this process, a file to read, a file to change, and addresses that listen."""
    (tmp_path / "secret").write_text("key")
    (tmp_path / "mode").touch()
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        paths = (str(tmp_path / "secret"), str(tmp_path / "mode"))
        yield (os.getpid(), *paths, tcp.getsockname()[1], udp.getsockname()[1], str(tmp_path / "socket"))


def got_through(kind: str, arguments: tuple[object, ...], folder: Path) -> set[str]:
    """Run all attempts in a child of a kind; return those that got through."""
    rights = RIGHTS[kind].format(folder=str(folder))
    program = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"), rights=rights, arguments=arguments)
    ended = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
@pytest.mark.parametrize("kind", RIGHTS)
def test_nothing_gets_out_of_a_child(kind: str, arguments: tuple[object, ...], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    assert got_through(kind, arguments, folder) == NEEDED[kind]


def test_the_attempts_are_real(arguments: tuple[object, ...]) -> None:
    """Outside a confinement the harmless ones get through, so that a held one is held by it."""
    from support.escapes import attempts

    tried = attempts(*arguments)  # type: ignore[arg-type]
    harmless = ("read a file", "read the parent's environment", "change a mode", "connect by TCP", "send by UDP")
    assert [name for name in (*harmless, "connect by UNIX socket", "start a program") if not tried[name]()] == []
