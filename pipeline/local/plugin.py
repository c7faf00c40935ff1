"""The analysis plugin of the local node: Lucene's language analysis, which the distribution lacks.

Its source is in `analysis_plugin/`. It is compiled by the JDK that runs the node, against the libraries of the
distribution, which contain Lucene's common analysis.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.search.names import SERVICE

SOURCE = "LuceneAnalysis.java"
#: Packages and classes of the source, as a class file names them.
CLASS = "pagesight.analysis.LuceneAnalysis$"
#: Beginning of the names of our folders in `plugins`; the digest of the source follows.
FOLDER = "pagesight-analysis-"
API = "org.elasticsearch.plugin.analysis."
#: Java version of the class files: the oldest that runs Elasticsearch 9.
RELEASE = "21"
_COMPONENT = re.compile(
    r'@NamedComponent\("(\w+)"\)\s+public static class (\w+) (?:extends Folding|implements (\w+))', re.ASCII
)


def install_plugin(installation: Path, version: str, jdk: Path) -> None:
    """Build the plugin into an unpacked distribution of this version, unless it is there.

    A plugin of another version of Pagesight is removed. A plugin is whole or missing.

    Raises:
        ServiceRefused: the JDK cannot compile it; the message ends with the compiler's output.
    """
    source = (files("pipeline.local") / "analysis_plugin" / SOURCE).read_text(encoding="utf-8")
    descriptor = _descriptor(version)
    folder = installation / "plugins" / (FOLDER + hashlib.sha256((source + descriptor).encode()).hexdigest()[:12])
    if folder.is_dir():
        return
    with tempfile.TemporaryDirectory(dir=installation.parent) as temporary:
        built = Path(temporary) / "plugin"
        built.mkdir()
        _compile(source, Path(temporary), installation, jdk)
        _pack(Path(temporary) / "classes", built / "analysis.jar")
        (built / "stable-plugin-descriptor.properties").write_text(descriptor, encoding="utf-8")
        (built / "named_components.json").write_text(json.dumps(components(source)), encoding="utf-8")
        _make_readable(built)
        for old in (installation / "plugins").glob(FOLDER + "*"):
            shutil.rmtree(old)
        built.rename(folder)


def components(source: str) -> dict[str, dict[str, str]]:
    """Return the class of each component by interface and name, in the form of `named_components.json`."""
    found: dict[str, dict[str, str]] = {}
    for name, cls, interface in _COMPONENT.findall(source):
        found.setdefault(API + (interface or "TokenFilterFactory"), {})[name] = CLASS + cls
    return found


def _descriptor(version: str) -> str:
    facts = {
        "name": "pagesight-analysis",
        "description": "Language analysis of the local node",
        "version": "1",
        "elasticsearch.version": version,
        "java.version": RELEASE,
    }
    return "".join(f"{name}={value}\n" for name, value in facts.items())


def _compile(source: str, folder: Path, installation: Path, jdk: Path) -> None:
    (folder / SOURCE).write_text(source, encoding="utf-8")
    options = ["--release", RELEASE, "-encoding", "UTF-8", "-cp", f"{installation}/lib/*"]
    command = [str(jdk / "bin" / "javac"), *options, "-d", str(folder / "classes"), str(folder / SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        words, code = done.stdout + done.stderr, done.returncode
    except OSError as error:
        words, code = str(error), 1
    if code != 0:
        raise ServiceRefused(
            SERVICE,
            f"the language analysis of the local node could not be compiled: {' '.join(words.split())[-600:]}",
            remedy="Set ES_JAVA_HOME to a whole JDK, with its compiler `bin/javac`.",
        )


def _pack(classes: Path, jar: Path) -> None:
    with zipfile.ZipFile(jar, "w") as file:
        for path in sorted(classes.rglob("*.class")):
            file.write(path, path.relative_to(classes))


def _make_readable(folder: Path) -> None:
    """Let the node's user read the plugin."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
