"""The two requirements of the local node: a JDK of this machine, and the distribution that Elastic publishes for tests.

The artifact is a real Elasticsearch without optional modules and without a JDK. Maven downloads it, by the user's own
Maven settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.local.plugin import install_plugin
from pipeline.local.supervisor import locked
from pipeline.search.names import SERVICE

VERSION = "9.5.0"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
#: Lucene 10 is compiled for this version.
LEAST_JAVA = 21
#: Modules that Elasticsearch needs at its start. Reduced Java runtimes lack them.
JAVA_MODULES = frozenset({"jdk.jlink", "jdk.incubator.vector"})
JVM_FOLDER = Path("/usr/lib/jvm")
#: Command that runs the same server in Docker.
DOCKER_LINE = (
    "docker run --rm -p 127.0.0.1:9200:9200 -e discovery.type=single-node -e xpack.security.enabled=false "
    f"elasticsearch:{VERSION}"
)
OTHER_WAY = f"Or run `{DOCKER_LINE}` and set PAGESIGHT_ELASTICSEARCH_URL=http://localhost:9200."

Progress = Callable[[str], None]


def find_jdk(environ: Mapping[str, str], jvm_folder: Path = JVM_FOLDER) -> Path:
    """Return the home of a JDK that can run the node: `ES_JAVA_HOME`, `JAVA_HOME`, then those in `jvm_folder`.

    Raises:
        ServiceRefused: no JDK qualifies; the message names each one with its flaw.
    """
    unfit = []
    for home in _java_homes(environ, jvm_folder):
        flaw = _flaw(home)
        if flaw is None:
            return home
        unfit.append(f"{home}: {flaw}")
    raise ServiceRefused(
        SERVICE,
        f"no JDK {LEAST_JAVA} or newer was found" + (f" ({'; '.join(unfit)})" if unfit else ""),
        remedy=f"Install a JDK {LEAST_JAVA} or newer, or set ES_JAVA_HOME to one. {OTHER_WAY}",
    )


def unpack(folder: Path, environ: Mapping[str, str], jdk: Path, progress: Progress) -> Path:
    """Return the unpacked distribution within `folder`, with the analysis plugin in it.

    Maven downloads it the first time only. The plugin is built then, and again for another version of Pagesight.

    Raises:
        ServiceRefused: `mvn` is missing or fails, or the plugin cannot be compiled; the message ends with the output.
    """
    home = folder / f"elasticsearch-{VERSION}"
    with locked(folder / "lock"):
        if not home.is_dir():
            _fetch(home, environ, progress)
        install_plugin(home, VERSION, jdk)
    return home


def _fetch(home: Path, environ: Mapping[str, str], progress: Progress) -> None:
    mvn = shutil.which("mvn", path=environ.get("PATH", os.defpath))
    if mvn is None:
        raise ServiceRefused(
            SERVICE, "mvn, which downloads Elasticsearch, was not found", remedy=f"Install Maven. {OTHER_WAY}"
        )
    progress(f"Fetching Elasticsearch {VERSION} (130 MB, the first time only)")
    with tempfile.TemporaryDirectory(dir=home.parent) as partial:
        _run_maven(mvn, Path(partial), environ)
        (Path(partial) / home.name).rename(home)


def _java_homes(environ: Mapping[str, str], jvm_folder: Path) -> Iterator[Path]:
    for name in ("ES_JAVA_HOME", "JAVA_HOME"):
        if environ.get(name):
            yield Path(environ[name])
    if jvm_folder.is_dir():
        yield from sorted(folder for folder in jvm_folder.iterdir() if (folder / "release").is_file())


def _flaw(home: Path) -> str | None:
    """Return why a Java home cannot run the node, or None. Its `release` file has version and modules."""
    try:
        lines = (home / "release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "not a JDK"
    facts = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    version = facts.get("JAVA_VERSION", "")
    major = version.split(".")[0].split("-")[0]
    if not major.isdecimal() or int(major) < LEAST_JAVA:
        return f"Java {version or 'of unknown version'}"
    lacking = JAVA_MODULES - set(facts.get("MODULES", "").split())
    return f"lacks {', '.join(sorted(lacking))}" if lacking else None


def _run_maven(mvn: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Let Maven unpack the artifact, outside any project. The node's user can read the files."""
    goal = ["dependency:unpack", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
    command = [mvn, "--batch-mode", "--quiet", *goal]
    done = subprocess.run(command, cwd=folder, env=dict(environ), capture_output=True, text=True, umask=0o022)
    if done.returncode != 0:
        words = " ".join((done.stdout + done.stderr).split())[-600:]
        raise ServiceRefused(
            SERVICE,
            f"mvn could not fetch {ARTIFACT}: {words}",
            remedy=f"Run `mvn dependency:get -Dartifact={ARTIFACT} -Dtransitive=false` and fix the error it reports. "
            f"{OTHER_WAY}",
        )
