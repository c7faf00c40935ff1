"""What the local node needs of a machine, and what is said where it is missing."""

from __future__ import annotations

import os
import pwd
import tempfile
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.core.errors import ServiceRefused
from pipeline.local.account import NODE_IDS, node_account
from pipeline.local.distribution import VERSION, find_jdk, unpack
from pipeline.local.elasticsearch import SHARED_FOLDER, LocalNode
from pipeline.local.plugin import API, FOLDER, components, install_plugin

MODULES = "java.base jdk.incubator.vector jdk.jlink"


def make_jdk(home: Path, version: str, modules: str = MODULES) -> Path:
    home.mkdir(parents=True)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


def make_mvn(folder: Path, script: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "mvn").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "mvn").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def make_javac(jdk: Path, script: str) -> Path:
    """The path of the compiled classes is the compiler's eighth argument."""
    (jdk / "bin").mkdir(parents=True)
    (jdk / "bin" / "javac").write_text(f"#!/bin/sh\n{script}\n")
    (jdk / "bin" / "javac").chmod(0o755)
    return jdk


@pytest.mark.parametrize("version", ["21", "21.0.2", "25.0.3", "26-ea"])
def test_a_jdk_that_is_new_enough_is_taken(tmp_path, version):
    jdk = make_jdk(tmp_path / "jvm" / "a", version)
    assert find_jdk({}, tmp_path / "jvm") == jdk


@pytest.mark.parametrize("version", ["1.8.0_402", "17.0.15", ""])
def test_a_jdk_that_is_too_old_is_named(tmp_path, version):
    make_jdk(tmp_path / "jvm" / "old", version)
    with pytest.raises(ServiceRefused, match="old: Java") as caught:
        find_jdk({}, tmp_path / "jvm")
    assert "ES_JAVA_HOME" in caught.value.remedy
    assert "docker run" in caught.value.remedy


def test_a_runtime_that_was_cut_down_is_named_with_what_it_lacks(tmp_path):
    make_jdk(tmp_path / "jvm" / "small", "25", "java.base jdk.jlink")
    with pytest.raises(ServiceRefused, match=r"small: lacks jdk\.incubator\.vector"):
        find_jdk({}, tmp_path / "jvm")


def test_the_environment_comes_before_the_system_and_what_does_not_fit_is_passed_over(tmp_path):
    own = make_jdk(tmp_path / "own", "21")
    java_home = make_jdk(tmp_path / "java_home", "25")
    old = make_jdk(tmp_path / "old", "17")
    system = make_jdk(tmp_path / "jvm" / "a", "25")
    names = {"ES_JAVA_HOME": str(own), "JAVA_HOME": str(java_home)}
    assert find_jdk(names, tmp_path / "jvm") == own
    assert find_jdk(names | {"ES_JAVA_HOME": str(old)}, tmp_path / "jvm") == java_home
    assert find_jdk({"ES_JAVA_HOME": str(old), "JAVA_HOME": str(tmp_path)}, tmp_path / "jvm") == system


def test_a_machine_without_java_says_so(tmp_path):
    with pytest.raises(ServiceRefused, match=r"no JDK 21 or newer was found$"):
        find_jdk({}, tmp_path / "none")


def test_a_node_does_not_start_without_a_jdk(tmp_path):
    with pytest.raises(ServiceRefused, match="no JDK"):
        LocalNode(tmp_path, environ={}, jvm_folder=tmp_path / "none").start()


def test_a_machine_without_maven_says_what_to_do(tmp_path):
    with pytest.raises(ServiceRefused, match="mvn") as caught:
        unpack(tmp_path, {"PATH": str(tmp_path)}, tmp_path, print)
    assert "Install Maven" in caught.value.remedy
    assert "docker run" in caught.value.remedy


def test_the_words_of_a_maven_that_fails_are_shown_and_nothing_is_left(tmp_path):
    environ = make_mvn(tmp_path / "bin", "echo 'BUILD FAILURE: Unknown host'; exit 1")
    with pytest.raises(ServiceRefused, match="BUILD FAILURE: Unknown host"):
        unpack(tmp_path, environ, tmp_path, print)
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "lock"}


def test_maven_is_asked_once_and_outside_any_project(tmp_path):
    script = f'echo "$PWD" >> {tmp_path}/calls; mkdir -p elasticsearch-{VERSION}/plugins'
    environ = make_mvn(tmp_path / "bin", script)
    jdk = make_javac(tmp_path / "jdk", f'echo >> {tmp_path}/compilations; mkdir "$8"')
    said: list[str] = []
    first = unpack(tmp_path, environ, jdk, said.append)
    assert unpack(tmp_path, environ, jdk, said.append) == first == tmp_path / f"elasticsearch-{VERSION}"
    assert first.is_dir()
    assert len((tmp_path / "calls").read_text().splitlines()) == len(said) == 1
    assert len((tmp_path / "compilations").read_text().splitlines()) == 1


def test_the_plugin_of_another_version_of_pagesight_is_replaced(tmp_path):
    installation = tmp_path / "elasticsearch"
    (installation / "plugins" / (FOLDER + "of-before")).mkdir(parents=True)
    install_plugin(installation, VERSION, make_javac(tmp_path / "jdk", 'mkdir "$8"'))
    (folder,) = (installation / "plugins").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "analysis.jar",
        "named_components.json",
        "stable-plugin-descriptor.properties",
    }


def test_a_compiler_that_fails_is_named_and_the_plugin_of_before_stays(tmp_path):
    installation = tmp_path / "elasticsearch"
    old = installation / "plugins" / (FOLDER + "of-before")
    old.mkdir(parents=True)
    with pytest.raises(ServiceRefused, match="could not be compiled: error: no such package") as caught:
        install_plugin(installation, VERSION, make_javac(tmp_path / "jdk", "echo error: no such package; exit 1"))
    assert "ES_JAVA_HOME" in caught.value.remedy
    assert list((installation / "plugins").iterdir()) == [old]


def test_each_component_of_the_plugin_is_announced():
    source = (files("pipeline.local") / "analysis_plugin" / "LuceneAnalysis.java").read_text()
    found = components(source)
    assert sum(map(len, found.values())) == source.count("@NamedComponent(")
    assert set(found) == {API + name for name in ("TokenFilterFactory", "TokenizerFactory", "CharFilterFactory")}


def test_looking_at_or_stopping_a_node_that_never_was_touches_nothing(tmp_path):
    node = LocalNode(tmp_path / "home")
    assert not node.status().running
    assert node.status().url is None
    assert not node.stop()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("content", ["", "no number", "1", "ours", "99999999"])
def test_a_pid_file_that_names_no_node_of_ours_is_not_believed(tmp_path, content):
    tmp_path.chmod(0o755)
    node = LocalNode(tmp_path)
    folder = node.status().folder / "run"
    folder.mkdir(parents=True)
    (folder / "pid").write_text(str(os.getpid()) if content == "ours" else content)
    try:
        assert not node.status().running
        assert not node.stop()
    finally:
        (folder / "pid").unlink()
        folder.rmdir()
        folder.parent.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_files_of_a_node_lie_where_its_user_can_reach_them(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not LocalNode(closed / "home").status().folder.is_relative_to(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_a_node_of_root_runs_under_an_id_that_nobody_else_has(tmp_path):
    user, group = node_account(tmp_path / "home")
    assert user == group
    assert user in NODE_IDS
    with pytest.raises(KeyError):
        pwd.getpwuid(user)
    assert node_account(tmp_path / "home") == (user, group)
    assert len({node_account(tmp_path / str(number)) for number in range(5)}) > 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_an_id_that_got_an_account_is_not_used_and_a_dedicated_account_is(tmp_path, monkeypatch):
    user, _ = node_account(tmp_path)
    known = {user: "somebody"}
    monkeypatch.setattr(pwd, "getpwuid", known.__getitem__)
    following, _ = node_account(tmp_path)
    assert following != user
    assert following in NODE_IDS

    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=991, pw_gid=992))
    assert node_account(tmp_path) == (991, 992)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_a_private_home_is_shut_for_the_node_and_a_new_one_is_not():
    with tempfile.TemporaryDirectory() as name:  # the folder of all tests is private
        Path(name).chmod(0o755)
        home = Path(name) / "home"
        assert LocalNode(home).status().folder == home / "elasticsearch"
        home.mkdir(mode=0o700)
        assert LocalNode(home).status().folder.parent == SHARED_FOLDER


#: Tells its user, looks at what it needs, and writes where a node writes. It never becomes ready.
LAUNCHER = """#!/bin/sh
cat "$ES_PATH_CONF/elasticsearch.yml" && echo x > data/x && echo x > tmp/x && mkdir snapshots/x && id -u
exit 3
"""


def test_what_a_node_makes_is_for_its_user_only_whatever_the_umask():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        installation = folder / "distribution" / f"elasticsearch-{VERSION}"
        for part in ("bin", "config", "plugins"):
            (installation / part).mkdir(parents=True)
        (installation / "config" / "elasticsearch.yml").write_text("configured: true\n")
        (installation / "bin" / "elasticsearch").write_text(LAUNCHER)
        (installation / "bin" / "elasticsearch").chmod(0o755)
        make_javac(make_jdk(folder / "jdk", "21.0.1"), 'mkdir "$8"')
        environ = {"ES_JAVA_HOME": str(folder / "jdk"), "PATH": os.environ["PATH"]}
        node = LocalNode(folder / "home", distribution=folder / "distribution", environ=environ)
        before = os.umask(0)
        try:
            with pytest.raises(ServiceRefused, match="configured: true") as caught:
                node.start()
        finally:
            os.umask(before)

        user = (node_account(folder / "home" / "elasticsearch") or (os.geteuid(), 0))[0]
        assert f"\n{user}\n" in f"{caught.value}\n"
        made = list((folder / "home").rglob("*"))
        assert len(made) > 9
        passed = {folder / "home" / "elasticsearch"} if os.geteuid() == 0 else set()
        assert [
            f"{path} {path.stat().st_mode:o}" for path in made if path not in passed and path.stat().st_mode & 0o077
        ] == []
