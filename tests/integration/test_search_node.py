"""The local node's life, for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.local.elasticsearch import LocalNode

pytestmark = pytest.mark.slow


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def modes_open_to_others(folder: Path) -> list[str]:
    """Return folders of a node that others may read. They may pass through the node's own folder, if it is root's."""
    states = {path: path.stat().st_mode for path in (folder, *folder.iterdir()) if not path.name.startswith("dist")}
    return [f"{path.name} {mode:o}" for path, mode in states.items() if mode & (0o066 if path == folder else 0o077)]


def port(url: str) -> str:
    return url.rsplit(":", 1)[1]


def taking(number: int) -> socket.socket:
    """Listen on a port as soon as whoever holds it lets go."""
    while True:
        try:
            return socket.create_server(("127.0.0.1", number))
        except OSError:
            time.sleep(0.05)


def test_a_node_starts_once_keeps_its_data_and_port_and_ends_when_told(make_node):
    # A range of its own: nodes of other tests, which start at any time, would take a port that is free for a moment.
    node = make_node(ports="19301-19399")
    said: list[str] = []
    url = node.start(said.append)
    status = node.status()
    assert said
    assert (status.running, status.url) == (True, url)
    assert owner(status.pid) not in {0, 1000}
    assert modes_open_to_others(status.folder) == []

    assert node.start(said.append) == url
    assert node.status().pid == status.pid
    assert len(said) == 1

    with Elasticsearch(url) as client:
        client.index(index="kept", id="1", document={"text": "granite"})
    assert node.stop()
    assert not node.stop()
    assert node.status() == type(status)(None, None, status.folder)
    socket.create_server(("127.0.0.1", int(port(url)))).close()  # nobody listens there any more

    assert node.start() == url
    with Elasticsearch(url) as client:
        assert client.get(index="kept", id="1")["_source"] == {"text": "granite"}


def test_two_starts_yield_one_node_and_once_it_was_killed_it_starts_on_another_port_if_its_own_is_taken(make_node):
    node = make_node()
    second = make_node(node.status().folder.parent)
    with ThreadPoolExecutor(2) as pool:
        (url,) = set(pool.map(LocalNode.start, (node, second)))
    assert node.status().pid == second.status().pid

    os.kill(node.status().pid, signal.SIGKILL)
    with taking(int(port(url))):
        assert node.status().url is None
        other = node.start()
    assert port(other) != port(url)
    assert json.loads((node.status().folder / "node.json").read_text())["url"] == other


def test_a_node_that_cannot_start_shows_its_last_words(make_node):
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        node = make_node(ports=str(taken))
        with pytest.raises(ServiceRefused, match=str(taken)) as caught:
            node.start()
    assert "did not start" in str(caught.value)
    assert "docker run" in caught.value.remedy
    assert not node.status().running
