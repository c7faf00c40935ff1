"""docker-compose.secure.yml: everybody comes by TLS, and each as a user that may do no more than it has to."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.lazy import load_command
from pipeline.core.settings import PREFIX, Settings
from pipeline.local.distribution import VERSION as ELASTICSEARCH_VERSION
from pipeline.search import ROLES
from pipeline.search.roles import role_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.secure.yml").read_text(encoding="utf-8")
PLAIN = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
#: What takes a key away that the plain file has.
RESET = object()


class Loader(yaml.SafeLoader):
    """Knows Compose's own tag."""


Loader.add_constructor("!reset", lambda loader, node: RESET)
SECURE: dict[str, Any] = yaml.load(TEXT, Loader)
SERVICES: dict[str, dict[str, Any]] = SECURE["services"]
OURS = [name for name in (PLAIN["services"] | SERVICES) if "build" in (SERVICES | PLAIN["services"]).get(name, {})]


def environment(name: str) -> dict[str, str]:
    """What a service gets, both files taken together."""
    plain = PLAIN["services"].get(name, {}).get("environment", {})
    both = plain | SERVICES.get(name, {}).get("environment", {})
    return {key: value for key, value in both.items() if value is not RESET}


def test_it_adds_only_what_is_done_once() -> None:
    added = SERVICES.keys() - PLAIN["services"].keys()
    assert added == {"certs", "install"}
    assert all(SERVICES[name]["restart"] == "no" for name in added)


@pytest.mark.parametrize("name", sorted({*PLAIN["services"], *SERVICES}))
def test_nobody_speaks_to_elasticsearch_without_tls(name: str) -> None:
    service = PLAIN["services"].get(name, {}) | SERVICES.get(name, {})
    both = f"{environment(name)} {service.get('command')} {service.get('healthcheck')}"
    assert not re.search(r"http://([^@ ]*@)?(elasticsearch|localhost):9200", both)
    if re.search(r"(elasticsearch|localhost):9200", both):
        assert "/trust/ca.crt" in both
        assert "trust:/trust:ro" in SERVICES[name]["volumes"]


def test_each_service_has_the_rights_that_it_needs() -> None:
    url = f"{PREFIX}ELASTICSEARCH_URL"
    assert environment("worker")[url].startswith("https://pagesight-worker:")
    assert environment("install")[url].startswith("https://elastic:")
    assert {name for name in OURS if url in environment(name)} == {"worker", "install"}


def test_the_worker_s_user_has_a_role_of_ours_and_no_other() -> None:
    (roles,) = re.findall(r'put pagesight-worker .*?\\"roles\\": \[(.*?)\]', TEXT)
    assert roles == f'\\"{role_name("writer")}\\"'
    assert "writer" in ROLES


def test_the_key_of_the_ca_is_in_no_other_container() -> None:
    assert "ca" in SECURE["volumes"]
    mounts = ((name, volume) for name, service in SERVICES.items() for volume in service.get("volumes", ()))
    mounted = {name for name, volume in mounts if volume.startswith("ca:")}
    assert mounted == {"certs"}
    assert SERVICES["certs"]["network_mode"] == "none"


def test_workers_begin_once_roles_and_indices_are_there() -> None:
    assert SERVICES["worker"]["depends_on"] == {"install": {"condition": "service_completed_successfully"}}
    assert SERVICES["elasticsearch"]["depends_on"] == {"certs": {"condition": "service_completed_successfully"}}
    program, command = SERVICES["install"]["command"]
    assert program == "pagesight"
    assert load_command(command)


def test_every_variable_that_looks_like_a_setting_is_one() -> None:
    for variable in re.findall(rf"{PREFIX}(\w+)", TEXT):
        assert variable.lower() in Settings.model_fields


def test_secrets_are_asked_for_and_images_are_those_of_the_plain_file() -> None:
    secrets = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", TEXT)
    assert {name for name, _ in secrets} == {"ELASTIC_PASSWORD", "WORKER_PASSWORD"}
    assert all(rest.startswith(":?") and ".env.example" in rest for _, rest in secrets)
    assert SERVICES["certs"]["image"] == f"elasticsearch:{ELASTICSEARCH_VERSION}"
    assert SERVICES["install"]["image"] == PLAIN["services"]["worker"]["image"]


def test_volumes_are_declared_and_used() -> None:
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted - PLAIN["volumes"].keys() == SECURE["volumes"].keys()
