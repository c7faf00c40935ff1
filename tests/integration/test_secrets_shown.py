"""No command shows a secret of its settings, whatever it prints and whatever goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from pipeline.core.settings import Settings
from support.pagesight_runs import MakePagesight, Pagesight, make_pdf

#: By setting; a password has characters that each encoding spells in its own way.
SECRETS = {
    name: f'{name.upper()}-"quoted"-/+&=%-secret'
    for name, field in Settings.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation)) and name != "passwords"
}
PASSWORDS = ("harbour", "a much longer password", "k9")
NOWHERE = "127.0.0.1:9"
URLS = {
    "elasticsearch_url": f"http://elastic:ELASTIC-pw1@{NOWHERE}",
    "kibana_url": f"http://kibana:KIBANA-pw1@{NOWHERE}",
    "redis_url": f"redis://:REDIS%2Fpw1@{NOWHERE}/0",
    "vlm_url": f"http://{NOWHERE}/v1?api_key=QUERY-pw1",
    "text_url": f"http://user:TEXT-pw1@{NOWHERE}/v1",
}
COMMANDS = (
    ("doctor",),
    ("doctor", "--json"),
    ("doctor", "--all-settings"),
    ("doctor", "--endpoint"),
    ("status", "--json"),
    ("status",),
    ("batches", "--json"),
    ("search", "harbour"),
    ("failures",),
    ("setup",),
    ("kibana", "install"),
    ("security", "key", "reader"),
    ("profile", "list"),
    ("schedule", "list"),
    ("inspect", "files", "--json"),
    ("plan", "files"),
    ("ask", "Who signed?"),
    ("pause",),
    ("enqueue", "files"),
)


@pytest.fixture
def pagesight(make_pagesight: MakePagesight) -> Pagesight:
    made = make_pagesight(URLS["elasticsearch_url"])
    made.set(**SECRETS, **URLS, passwords="\n".join(PASSWORDS))
    make_pdf(made.files / "a.pdf", 1, seed=1)
    return made


def test_no_command_shows_a_secret(pagesight: Pagesight) -> None:
    shown = {" ".join(words): pagesight.run(*words) for words in COMMANDS}
    secrets = [*SECRETS.values(), *PASSWORDS[1:], *("ELASTIC-pw1", "KIBANA-pw1", "REDIS%2Fpw1", "REDIS/pw1")]
    for secret in (*secrets, "QUERY-pw1", "TEXT-pw1", "-secret"):
        assert [command for command, ended in shown.items() if secret in ended.stdout + ended.stderr] == []
    assert "**********" in shown["doctor --all-settings"].stdout
    assert all(ended.stdout + ended.stderr for ended in shown.values())
    assert not [command for command, ended in shown.items() if "Traceback" in ended.stderr]


def test_an_unexpected_error_is_shown_without_secrets(tmp_path: Path) -> None:
    program = """
import sys, threading
from pipeline.cli import app
from pipeline.core.masking import remember
def fail():
    raise ValueError("harbour-dues-1987 at https://u:pw@h/x?token=abc")
def run():
    remember(["harbour-dues-1987"])
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    fail()
app.app = run
app.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path)

    assert ended.returncode == 1
    assert ended.stderr.count("ValueError: ********** at https://**********@h/x?token=**********") == 2
    assert "harbour-dues-1987 at" not in ended.stderr
