"""Commands that are run in a folder of somebody else's files: nothing in it is configuration."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen import canvas

from support.pagesight_runs import PROGRAM


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with an encrypted PDF, and with files that would run a program and choose a server."""
    folder = tmp_path / "scans"
    folder.mkdir(mode=0o755)
    paper = canvas.Canvas(str(folder / "letter.pdf"), encrypt=StandardEncryption("secret", "owner"))
    paper.drawString(50, 300, "A letter")
    paper.save()
    command = shlex.join(["sh", "-c", f"env > {tmp_path / 'stolen'}"])
    (folder / "pagesight.toml").write_text(f'passwords_command = "{command}"\nlanguage = "de"\n')
    (folder / ".env").write_text("PAGESIGHT_LANGUAGE=fr\n")
    (folder / ".pagesight").mkdir(mode=0o755)
    return folder


def run(folder: Path, *words: str, umask: int = 0o022, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder.parent / "user"),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=150,
        umask=umask,
    )


@pytest.mark.parametrize("data", [".", "letter.pdf", "../scans"])
def test_a_folder_that_is_inspected_runs_nothing_and_is_named(scans: Path, data: str) -> None:
    ended = run(scans, "inspect", data, JINA_API_KEY="jina_verysecret")

    assert not (scans.parent / "stolen").exists()
    assert ended.returncode == 0, ended.stderr
    assert "encrypted" in ended.stdout
    assert f"{scans / 'pagesight.toml'} is not used: it is in {scans}" in ended.stderr
    assert f"{scans / '.pagesight'} is not used as home" in ended.stderr
    assert os.listdir(scans / ".pagesight") == []


def test_a_file_that_others_may_write_runs_nothing_either(scans: Path) -> None:
    (scans / "pagesight.toml").chmod(0o666)
    (scans / "inner").mkdir()
    (scans / "letter.pdf").rename(scans / "inner" / "letter.pdf")
    ended = run(scans, "inspect", "inner")

    assert not (scans.parent / "stolen").exists()
    assert "other users may write" in ended.stderr


def test_a_file_that_the_user_names_does_run_its_program(scans: Path) -> None:
    run(scans, "--config", "pagesight.toml", "inspect", ".")

    assert (scans.parent / "stolen").exists()


def test_commands_work_from_any_folder_with_the_same_settings(scans: Path) -> None:
    own = scans.parent / "user" / ".config" / "pagesight"
    own.mkdir(parents=True, mode=0o755)
    (own / "pagesight.toml").write_text('language = "es"\n')
    homes = []
    for folder in (scans.parent, scans / ".pagesight", Path("/")):
        ended = run(folder, "doctor", "--json", HOME=str(scans.parent / "user"))
        found = {check["name"]: check["found"] for check in json.loads(ended.stdout)["checks"]}
        assert found["language"] == "es"
        homes.append(found["home"].split()[0])
    assert homes == [str(scans.parent / "user" / ".local" / "share" / "pagesight")] * 3
