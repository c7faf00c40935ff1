"""A process that has begun keeps its secrets to itself, and its settings still have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.process_secrets import is_secret
from pipeline.core.settings import KEY_ALIASES, PREFIX, Settings

ROOT = Path(__file__).parents[3]
SECRET = "unguessable-and-long-enough-for-a-secret"
VARIABLES = {
    "PAGESIGHT_ELASTICSEARCH_URL": f"https://elastic:{SECRET}@search.example.org",
    "PAGESIGHT_SERVE_TOKEN": SECRET,
    "PAGESIGHT_PASSWORDS": f"one\n{SECRET}",
    "JINA_API_KEY": SECRET,
    "PAGESIGHT_LANGUAGE": "de",
    "PAGESIGHT_TEXT_API_KEY": "",
}
#: Begins as `pagesight` does, then tells what it has, and what a child without rights sees of it.
PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
from pipeline.core.process_secrets import withhold_secrets
from pipeline.core.settings import load

withhold_secrets()
settings = load()
inherited = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
looks = "import sys; from pathlib import Path; from pipeline.core.confinement import _drop_capabilities;"
looks += "_drop_capabilities(); print(Path('/proc', sys.argv[1], 'environ').read_bytes())"
looked = subprocess.run([sys.executable, "-c", looks, str(os.getpid())], capture_output=True, text=True)
print(json.dumps({
    "environment": Path("/proc/self/environ").read_text() + inherited + repr(dict(os.environ)),
    "looked": [looked.returncode, looked.stderr.strip().splitlines()[-1:]],
    "settings": [
        settings.elasticsearch_url,
        settings.serve_token.get_secret_value(),
        *(password.get_secret_value() for password in settings.passwords),
        settings.vlm_api_key.get_secret_value(),
        settings.language,
        settings.text_api_key,
    ],
}))
"""


def test_secrets_leave_the_environment_and_stay_in_the_settings() -> None:
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, **VARIABLES}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["settings"] == [VARIABLES["PAGESIGHT_ELASTICSEARCH_URL"], SECRET, "one", SECRET, SECRET, "de", None]
    assert SECRET not in told["environment"]
    assert "PAGESIGHT_LANGUAGE" in told["environment"]


def test_no_process_without_rights_reads_the_environment_of_one_that_has_begun() -> None:
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, **VARIABLES}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=60)
    code, error = json.loads(ended.stdout)["looked"]
    assert (code, "PermissionError" in error[0]) == (1, True)


@pytest.mark.parametrize(
    "name", [name for name, f in Settings.model_fields.items() if "SecretStr" in str(f.annotation)]
)
def test_every_secret_setting_is_one_of_them(name: str) -> None:
    assert is_secret((PREFIX + name).upper(), "value")


def test_other_settings_are_not_unless_they_hold_a_user() -> None:
    assert all(is_secret(name, "value") for name in KEY_ALIASES)
    assert not is_secret("PAGESIGHT_PASSWORDS_COMMAND", "pass show scans")
    assert not is_secret("PAGESIGHT_REDIS_URL", "redis://localhost")
    assert is_secret("PAGESIGHT_REDIS_URL", "redis://:word@localhost")
    assert not is_secret("AWS_SECRET_ACCESS_KEY", "value")
