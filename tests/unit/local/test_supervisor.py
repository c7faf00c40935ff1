"""The mechanism under the local Elasticsearch and Redis, with a small program as the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import ServiceRefused
from pipeline.local.supervisor import LocalServer, Supervisor

URL = "http://127.0.0.1:1/"
LIVES = "import time; print('ready', flush=True); time.sleep(600)"
ENDS = "print('out of memory')"
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)

Make = Callable[..., "Server"]


class Server(Supervisor):
    """A supervisor whose server is a line of Python."""

    def __init__(self, folder: Path, program: str, **changes: object) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._program = program
        facts = {
            "folder": folder,
            "pid_file": folder / "pid",
            "url_file": folder / "server.json",
            "mark": f"mark={folder}",
            "logs": (folder / "server.log",),
            "start_seconds": 60.0,
            "stop_seconds": 0.5,
            "other_way": "Or use another one.",
        }
        super().__init__(LocalServer("thing", "the local thing", **(facts | changes)))  # type: ignore[arg-type]

    def launch(self) -> str:
        self.server.logs[0].write_text("launching\n")
        with self.server.logs[0].open("ab") as log:
            self.processes.append(subprocess.Popen([sys.executable, "-c", self._program, self.server.mark], stdout=log))
        self.server.pid_file.write_text(str(self.processes[-1].pid))
        return URL

    def run(self) -> str:
        return self.start(self.launch, lambda _url: "ready" in self.server.logs[0].read_text())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Server] = []

    def make(program: str = LIVES, **changes: object) -> Server:
        made.append(Server(tmp_path / "server", program, **changes))
        return made[-1]

    yield make
    for server in made:
        for process in server.processes:
            process.kill()
            process.wait()


def test_a_server_that_runs_is_not_launched_again(make: Make) -> None:
    first, second = make(), make()

    assert (first.run(), second.run()) == (URL, URL)

    assert (len(first.processes), len(second.processes)) == (1, 0)
    assert second.status() == first.status()
    assert second.stop()
    assert not first.status().running


def test_a_server_that_is_never_ready_is_reported_with_its_log_and_the_other_way(make: Make) -> None:
    server = make("import time; time.sleep(600)", start_seconds=0.5)

    with pytest.raises(ServiceRefused, match="is not ready after") as caught:
        server.run()

    assert "launching" in str(caught.value)
    assert "Or use another one." in caught.value.remedy


def test_a_server_that_ends_at_once_is_reported_with_the_end_of_its_log(make: Make) -> None:
    server = make(ENDS)

    with pytest.raises(ServiceRefused, match="ended soon after its start") as caught:
        server.run()

    assert "out of memory" in str(caught.value)


def test_another_process_with_the_same_id_is_neither_reported_nor_ended(make: Make) -> None:
    server = make()
    server.server.folder.mkdir()
    server.server.pid_file.write_text(str(os.getpid()))

    assert not server.status().running
    assert not server.stop()


def test_a_server_that_ignores_sigterm_is_killed(make: Make) -> None:
    server = make(IGNORES_SIGTERM)
    server.run()

    assert server.stop()
    assert not server.status().running


def test_a_damaged_url_file_is_reported(make: Make) -> None:
    server = make()
    server.run()
    server.server.url_file.write_text(json.dumps({"folder": "somewhere"}))

    with pytest.raises(ServiceRefused, match="its URL was not noted"):
        server.run()
    assert server.status().url is None


def test_on_another_system_the_remedy_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(ServiceRefused, match="runs on Linux only") as caught:
        make().run()

    assert caught.value.remedy == "Or use another one."
