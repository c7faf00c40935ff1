"""docker-compose.secure.yml: everybody comes by TLS, and each as a user that may do no more than it has to."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.settings import PREFIX, Settings
from pipeline.local.distribution import VERSION as ELASTICSEARCH_VERSION
from pipeline.search import ROLES
from pipeline.search.roles import role_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.secure.yml").read_text(encoding="utf-8")
PLAIN = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SECURE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = SECURE["services"]


def environment(name: str) -> dict[str, str]:
    """What a service gets, both files taken together."""
    plain = PLAIN["services"].get(name, {}).get("environment", {})
    return plain | SERVICES.get(name, {}).get("environment", {})


def test_it_adds_only_what_is_done_once() -> None:
    added = SERVICES.keys() - PLAIN["services"].keys()
    assert added == {"certs"}
    assert all(SERVICES[name]["restart"] == "no" for name in added)


@pytest.mark.parametrize("name", sorted({*PLAIN["services"], *SERVICES}))
def test_nobody_speaks_to_elasticsearch_without_tls(name: str) -> None:
    service = PLAIN["services"].get(name, {}) | SERVICES.get(name, {})
    both = f"{environment(name)} {service.get('command')} {service.get('healthcheck')}"
    assert not re.search(r"http://([^@ ]*@)?(elasticsearch|localhost):9200", both)
    if re.search(r"(elasticsearch|localhost):9200", both):
        assert "/trust/ca.crt" in both
        assert "trust:/trust:ro" in SERVICES[name]["volumes"]


def test_everything_that_signs_in_is_given_the_urls_with_tls() -> None:
    assert SECURE["secrets"] == {
        name: {"file": PLAIN["secrets"][name]["file"].replace("secrets/", "secrets/tls/")}
        for name in ("kibana", "install", "worker")
    }
    for name in ("install", "worker"):
        assert environment(name)[f"{PREFIX}ELASTICSEARCH_CA_CERTS"] == "/trust/ca.crt"
        assert "trust:/trust:ro" in SERVICES[name]["volumes"]


def test_the_worker_s_user_has_a_role_of_ours_and_no_other() -> None:
    setup = PLAIN["services"]["setup"]["command"][-1]
    (roles,) = re.findall(r'put pagesight-worker .*?\\"roles\\": \[(.*?)\]', setup)
    assert roles == f'\\"{role_name("writer")}\\"'
    assert "writer" in ROLES


def test_files_are_decoded_only_where_every_layer_is_in_force() -> None:
    assert environment("worker")[f"{PREFIX}STRICT_CONFINEMENT"].endswith(":-true}")


def test_the_key_of_the_ca_is_in_no_other_container() -> None:
    assert "ca" in SECURE["volumes"]
    mounts = ((name, volume) for name, service in SERVICES.items() for volume in service.get("volumes", ()))
    mounted = {name for name, volume in mounts if volume.startswith("ca:")}
    assert mounted == {"certs"}
    assert SERVICES["certs"]["network_mode"] == "none"


def test_workers_begin_once_roles_and_indices_are_there() -> None:
    once = {"condition": "service_completed_successfully"}
    assert PLAIN["services"]["worker"]["depends_on"]["install"] == once
    assert PLAIN["services"]["install"]["depends_on"]["setup"] == once
    assert SERVICES["elasticsearch"]["depends_on"] == {"certs": once}


def test_every_variable_that_looks_like_a_setting_is_one() -> None:
    for variable in re.findall(rf"{PREFIX}(\w+)", TEXT):
        assert variable.lower() in Settings.model_fields


def test_the_authority_is_confined_and_of_the_same_version() -> None:
    certs = SERVICES["certs"]
    assert certs["image"] == f"elasticsearch:{ELASTICSEARCH_VERSION}"
    assert certs["cap_drop"] == ["ALL"]
    assert certs["security_opt"] == ["no-new-privileges:true"]
    assert certs["pids_limit"]


def test_volumes_are_declared_and_used() -> None:
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted - PLAIN["volumes"].keys() == SECURE["volumes"].keys()
