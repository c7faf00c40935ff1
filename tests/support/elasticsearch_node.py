"""Fixtures for a real Elasticsearch: the local node, as users get it.

TEST_ELASTICSEARCH_URL names another one instead. Its Pagesight indices are deleted before every test!
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.local.distribution import find_jdk, unpack
from pipeline.local.elasticsearch import LocalNode, within_reach
from pipeline.search.index import Index
from support.empty_indices import empty

CACHE = Path(__file__).parents[2] / ".pagesight" / "cache"


def own_first_port() -> int:
    """Return the first of 100 ports that no other process of pytest on this machine uses, whatever checkout it runs.

    A locked file tells; its descriptor stays open until this process ends.

    Otherwise a node that is killed and starts again may find its port taken by the node of another run. Its clients
    would then write into the indices of the other run's test.
    """
    for number in range(100):
        lock = os.open(
            Path(tempfile.gettempdir()) / f"pagesight-test-ports-{number}.lock", os.O_CREAT | os.O_RDWR, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return 9300 + 100 * number
    raise AssertionError("no ports are left for the nodes of tests")


FIRST_PORT = own_first_port()
PORTS = f"{FIRST_PORT}-{FIRST_PORT + 99}"
#: A node of the tests lives for minutes, which its best compiler does not repay: a start takes half the CPU time so.
#: Its classes are known to be sound, and it needs half of the memory that it would touch at its start.
JVM_OPTIONS = """-XX:TieredStopAtLevel=1
-XX:-UseG1GC
-XX:+UseSerialGC
-XX:-AlwaysPreTouch
-XX:+UnlockDiagnosticVMOptions
-XX:-BytecodeVerificationRemote
"""


def skip_or_fail(reason: str) -> None:
    """A missing service skips a test on a laptop and fails it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def unpack_for_tests(cache: Path) -> Path:
    """Return a folder with the unpacked distribution and `JVM_OPTIONS` in it; made once for each state of them."""
    folder = cache / f"elasticsearch-{hashlib.sha256(JVM_OPTIONS.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    installation = unpack(folder, os.environ, find_jdk(os.environ), print)
    (installation / "config" / "jvm.options.d" / "tests.options").write_text(JVM_OPTIONS, encoding="ascii")
    return folder


@pytest.fixture(scope="session")
def elasticsearch_distribution() -> Path:
    """Folder with the unpacked distribution, for nodes of a test's own."""
    try:
        return unpack_for_tests(within_reach(CACHE))
    except ServiceRefused as error:
        skip_or_fail(f"no Elasticsearch: {error}")
        raise


@contextmanager
def making_nodes(distribution: Path) -> Iterator[Callable[..., LocalNode]]:
    """Make nodes, each in a new home unless one is given; they are stopped at the end."""
    nodes: list[LocalNode] = []
    with tempfile.TemporaryDirectory(prefix="pagesight-nodes-") as homes:
        Path(homes).chmod(0o755)

        def make(home: Path | None = None, **arguments: object) -> LocalNode:
            home = home or Path(homes) / str(len(nodes))
            nodes.append(LocalNode(home, **{"distribution": distribution, "ports": PORTS} | arguments))  # type: ignore[arg-type]
            return nodes[-1]

        yield make
        for node in nodes:
            node.stop()


@pytest.fixture
def make_node(elasticsearch_distribution: Path) -> Iterator[Callable[..., LocalNode]]:
    """Makes nodes of a test's own."""
    with making_nodes(elasticsearch_distribution) as make:
        yield make


#: The node of this process, as long as it runs.
_running: list[str] = []


@pytest.fixture(scope="session")
def elasticsearch_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a running Elasticsearch that tests may do anything with."""
    url = os.environ.get("TEST_ELASTICSEARCH_URL")
    if url:
        yield url
        return
    distribution = request.getfixturevalue("elasticsearch_distribution")
    with tempfile.TemporaryDirectory(prefix="pagesight-node-") as home:
        Path(home).chmod(0o755)
        node = LocalNode(Path(home), distribution=distribution, ports=PORTS)
        url = node.start()
        _running.append(url)
        yield url
        _running.remove(url)
        node.stop()


@pytest.fixture(scope="module", autouse=True)
def _no_index_is_left() -> Iterator[None]:
    """A file of tests leaves no index: indices know their archive, and the next file has another one."""
    yield
    for url in _running:
        with Index(url) as index:
            index.drop()


@pytest.fixture
def bare_index(elasticsearch_url: str) -> Iterator[Index]:
    """A cluster without any index of ours; its templates may be there."""
    with Index(elasticsearch_url) as index:
        index.drop()
        yield index


@pytest.fixture
def index(elasticsearch_url: str) -> Iterator[Index]:
    """A cluster with empty indices."""
    with Index(elasticsearch_url) as index, Elasticsearch(elasticsearch_url) as client:
        empty(index, client, elasticsearch_url)
        yield index
