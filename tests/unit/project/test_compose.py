"""docker-compose.yml, .env.example and the Dockerfile name only what there is, and give away nothing."""

import re
import stat
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import CollectorRegistry

from pipeline.archive import Archive, Store
from pipeline.cli.lazy import load_command
from pipeline.core.configuration import CONFIG_VARIABLE
from pipeline.core.private import FOLDER_MODE
from pipeline.core.settings import KEY_ALIASES, PREFIX, Settings
from pipeline.core.url_signing import UrlPrefix
from pipeline.local.distribution import VERSION as ELASTICSEARCH_VERSION
from pipeline.search import BULK_TIMEOUT_SECONDS
from support.serving import served
from workers.observability.health import Health

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
VOLUMES: dict[str, Any] = yaml.safe_load(TEXT)["volumes"]
SECURE = (ROOT / "docker-compose.secure.yml").read_text(encoding="utf-8")
NETWORKS: dict[str, dict[str, bool]] = yaml.safe_load(TEXT)["networks"]
SECRETS: dict[str, dict[str, str]] = yaml.safe_load(TEXT)["secrets"]
PROXY = (ROOT / "tools" / "compose" / "proxy.conf").read_text(encoding="utf-8")
ENV_EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

each_service = pytest.mark.parametrize("name", SERVICES)
ours = pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
ONCE = {"setup", "install"}
lasting = pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONCE])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets that the script makes."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make_secrets(folder)
    return folder


def make_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "tools" / "compose" / "make-secrets.sh"
    return subprocess.run([script, folder], capture_output=True, text=True, check=False)


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_the_services_are_those_that_a_fleet_needs() -> None:
    assert SERVICES.keys() == ONCE | {"elasticsearch", "kibana", "redis", "worker", "beat", "serve", "proxy"}


@ours
def test_our_services_run_commands_that_there_are(name: str) -> None:
    program, command, *options = SERVICES[name]["command"]

    assert program == "pagesight"
    known = load_command(command)
    assert set(options) <= {option for parameter in known.params for option in parameter.opts}


@ours
def test_every_variable_of_our_services_is_a_setting(name: str) -> None:
    for variable in SERVICES[name]["environment"]:
        known = variable.removeprefix(PREFIX).lower() in Settings.model_fields
        assert known or variable in (*KEY_ALIASES, CONFIG_VARIABLE)


def test_every_variable_that_looks_like_a_setting_is_one() -> None:
    for variable in re.findall(rf"{PREFIX}(\w+)", TEXT + ENV_EXAMPLE + DOCKERFILE):
        assert variable.lower() in Settings.model_fields or PREFIX + variable == CONFIG_VARIABLE


@lasting
def test_what_lasts_is_looked_at_and_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"].keys() & {"test", "disable"}


def test_only_the_beat_which_serves_nothing_is_not_looked_at() -> None:
    assert [name for name in SERVICES if SERVICES[name].get("healthcheck", {}).get("disable")] == ["beat"]


def test_the_worker_s_health_check_is_served_and_by_default_fine() -> None:
    worker = SERVICES["worker"]
    port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", worker["healthcheck"]["test"][-1]).groups()  # type: ignore[union-attr]
    assert port == worker["environment"]["PAGESIGHT_WORKER_PORT"]
    assert port in worker["expose"]

    health = Health(CollectorRegistry(), time.monotonic, {})
    served = health.start("127.0.0.1", 0)
    try:
        code = worker["healthcheck"]["test"][-1].replace(port, str(served))
        exec(code, {})
        with urlopen(f"http://127.0.0.1:{served}{path}") as answer:
            assert answer.status == 200
    finally:
        health.stop()


def test_the_worker_s_health_check_fails_where_the_worker_hangs() -> None:
    health = Health(CollectorRegistry(), lambda: time.monotonic() - 3600, {})
    served = health.start("127.0.0.1", 0)
    code = SERVICES["worker"]["healthcheck"]["test"][-1]
    try:
        with pytest.raises(OSError, match="503"):
            exec(code.replace(SERVICES["worker"]["environment"]["PAGESIGHT_WORKER_PORT"], str(served)), {})
    finally:
        health.stop()


def test_serve_reads_the_archive_and_has_no_other_right() -> None:
    serve = SERVICES["serve"]
    assert serve["environment"].keys() == {"PAGESIGHT_HOME", CONFIG_VARIABLE, "PAGESIGHT_SERVE_HOST"}
    assert serve["volumes"] == [f"pagesight:{serve['environment']['PAGESIGHT_HOME']}:ro"]
    assert "ports" not in serve


def test_the_proxy_leads_to_what_serve_serves_and_logs_no_keys(tmp_path: Path) -> None:
    port = str(Settings.model_fields["serve_port"].default)
    assert re.findall(r"set \$pages http://(\w+):(\d+);", PROXY) == [("serve", port)]
    assert SERVICES["serve"]["expose"] == [port]
    assert re.findall(r"location /([\w-]+)/ \{ proxy_pass \$pages; \}", PROXY) == [place.value for place in UrlPrefix]
    assert SERVICES["proxy"]["ports"] == [f"127.0.0.1:{re.findall(r'listen (.+);', PROXY)[0]}:8080"]
    (logged,) = re.findall(r"log_format (.*);", PROXY)
    assert not re.search(r"\$(?:request|request_uri|args|query_string|http_referer|arg_\w+)\b", logged)

    checks = " ".join(map(str, SERVICES["serve"]["healthcheck"]["test"] + SERVICES["proxy"]["healthcheck"]["test"]))
    with served(Archive(Store(str(tmp_path / "archive"))), secret="s" * 32) as server:
        for path in re.findall(r"http://127\.0\.0\.1:\d+(/[\w./]+)", checks):
            assert server.ask(path).status == 200


def test_a_worker_has_time_to_end_its_calls() -> None:
    settings = Settings.model_fields
    needed = settings["vlm_read_seconds"].default + BULK_TIMEOUT_SECONDS
    assert seconds(SERVICES["worker"]["stop_grace_period"]) >= needed + 30


@each_service
def test_ports_are_published_on_the_loopback_interface_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_memory_is_limited(name: str) -> None:
    assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])


@each_service
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+(-\w+)?", SERVICES[name]["image"])


def test_images_are_the_versions_that_the_project_is_at_and_was_tested_with() -> None:
    assert {SERVICES[name]["image"] for name in ("elasticsearch", "setup")} == {
        f"elasticsearch:{ELASTICSEARCH_VERSION}"
    }
    assert SERVICES["kibana"]["image"] == f"kibana:{ELASTICSEARCH_VERSION}"
    ours = {SERVICES[name]["image"] for name in ("install", "worker", "beat", "serve")}
    assert ours == {f"pagesight:{PROJECT['project']['version']}"}


def test_volumes_are_declared_and_used() -> None:
    mounted = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {mount for mount in mounted if mount[0] not in "$."} == VOLUMES.keys()


def test_documents_are_mounted_for_reading_only() -> None:
    (documents,) = (mount for mount in SERVICES["worker"]["volumes"] if "$" in mount)
    assert documents.endswith(":/documents:ro")


def test_redis_keeps_the_queues_on_disk_and_evicts_nothing() -> None:
    words = SERVICES["redis"]["command"]
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert words[words.index("--aclfile") + 1] == f"/run/secrets/{SERVICES['redis']['secrets'][0]}"


# -- who reaches whom


def test_each_service_is_in_the_networks_of_what_it_speaks_to() -> None:
    assert {name: networks(name) for name in SERVICES} == {
        "elasticsearch": {"data"},
        "setup": {"data"},
        "install": {"data"},
        "kibana": {"data", "front"},
        "redis": {"queue"},
        "worker": {"data", "queue", "model"},
        "beat": {"queue"},
        "serve": {"front"},
        "proxy": {"front", "published"},
    }


def test_only_workers_reach_the_model_and_only_the_proxy_is_published() -> None:
    outward = {name for name, options in NETWORKS.items() if not options.get("internal")}
    assert outward == {"model", "published"}
    assert {name for name in SERVICES if networks(name) & outward} == {"worker", "proxy"}
    assert {name for name in SERVICES if "ports" in SERVICES[name]} == {"proxy"}


# -- secrets and users


def test_no_secret_is_in_the_environment_of_a_container_or_of_compose() -> None:
    assert not re.findall(r"\$\{\w*(?:PASSWORD|SECRET|KEY|TOKEN)", TEXT + SECURE + ENV_EXAMPLE)
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"PASSWORD|SECRET|KEY|TOKEN", variable)
            assert not re.search(r"//[^/@]+@", value)


def test_each_process_is_given_its_own_secrets() -> None:
    given = {name: [_source(secret) for secret in SERVICES[name].get("secrets", [])] for name in SERVICES}
    assert given == {
        "elasticsearch": ["elastic_password"],
        "setup": ["elastic_password", "kibana_password", "worker_password"],
        "install": ["install"],
        "kibana": ["kibana"],
        "redis": ["redis_acl"],
        "worker": ["worker"],
        "beat": ["beat"],
        "serve": ["serve"],
        "proxy": [],
    }


def _source(secret: str | dict[str, str]) -> str:
    return secret if isinstance(secret, str) else secret["source"]


@ours
def test_our_services_read_their_own_file_of_settings(name: str, made: Path) -> None:
    assert SERVICES[name]["environment"][CONFIG_VARIABLE] == f"/run/secrets/{name}"
    assert SECRETS[name]["file"] == f"./secrets/{name}.toml"
    settings = tomllib.loads((made / f"{name}.toml").read_text(encoding="utf-8"))
    assert settings.keys() <= Settings.model_fields.keys()
    users = {key: url.split("//")[1].split(":")[0] for key, url in settings.items() if key.endswith("_url")}
    assert users == {
        "worker": {"elasticsearch_url": "pagesight-worker", "redis_url": "worker"},
        "install": {"elasticsearch_url": "elastic", "kibana_url": "elastic"},
        "beat": {"redis_url": "beat"},
        "serve": {},
    }.get(name)


def test_only_what_is_done_once_signs_in_as_elastic() -> None:
    bears = {"elastic_password", "install"}
    assert {name for name in SERVICES if bears & {_source(secret) for secret in SERVICES[name].get("secrets", [])}} == {
        *ONCE,
        "elasticsearch",
    }  # which learns there whose password it is
    assert "elastic:" not in str(SERVICES["elasticsearch"])


def test_every_secret_is_made_and_used_and_in_no_commit(made: Path) -> None:
    assert {_source(secret) for service in SERVICES.values() for secret in service.get("secrets", [])} == SECRETS.keys()
    overlaid = re.findall(r"file: \./secrets/([\w./]+)", SECURE)
    for path in (*(secret["file"].removeprefix("./secrets/") for secret in SECRETS.values()), *overlaid):
        assert (made / path).stat().st_size, path
    assert {".env", "secrets/"} <= set((ROOT / ".gitignore").read_text(encoding="utf-8").split())


def test_on_this_machine_only_the_owner_reads_secrets(made: Path) -> None:
    for folder in (made, made / "tls"):
        assert stat.S_IMODE(folder.stat().st_mode) == FOLDER_MODE
    for file in made.rglob("*.*"):
        assert not file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), file


def test_secrets_stay_and_what_is_made_of_them_follows(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    before = (folder / "worker.toml").read_text(encoding="utf-8")
    assert "vlm_api_key" not in before
    (folder / "jina_api_key").write_text("jina_123\n", encoding="utf-8")
    assert make_secrets(folder).returncode == 0
    assert (folder / "worker.toml").read_text(encoding="utf-8") == before + 'vlm_api_key = "jina_123"\n'
    assert 'vlm_api_key = "jina_123"' in (folder / "tls" / "worker.toml").read_text(encoding="utf-8")


def test_a_secret_that_could_change_a_url_or_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    (folder / "worker_password").write_text('a"\nhome = "/', encoding="utf-8")
    ended = make_secrets(folder)
    assert ended.returncode == 2
    assert "secrets/worker_password must hold letters" in ended.stderr


def test_with_tls_the_same_users_come_by_https(made: Path) -> None:
    for name in ("worker.toml", "install.toml"):
        plain = (made / name).read_text(encoding="utf-8")
        assert (made / "tls" / name).read_text(encoding="utf-8") == plain.replace(
            "http://pagesight-worker", "https://pagesight-worker"
        ).replace('elasticsearch_url = "http://elastic', 'elasticsearch_url = "https://elastic')
    kibana = yaml.safe_load((made / "tls" / "kibana.yml").read_text(encoding="utf-8"))
    assert kibana["elasticsearch.hosts"] == ["https://elasticsearch:9200"]
    assert kibana["elasticsearch.ssl.certificateAuthorities"] == ["/trust/ca.crt"]
    assert kibana["elasticsearch.username"] == "kibana_system"


def test_the_example_names_what_must_be_set_and_nothing_that_nobody_reads() -> None:
    asked = dict(re.findall(r"\$\{(\w+)(:[?-])", TEXT + SECURE))
    named = set(re.findall(r"^(\w+)=", ENV_EXAMPLE, re.MULTILINE))

    assert named <= asked.keys()
    assert set(asked.values()) == {":-"}  # nothing must be set


@each_service
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0


def test_only_elasticsearch_and_kibana_write_to_their_image() -> None:
    assert {name for name in SERVICES if not SERVICES[name].get("read_only")} == {"elasticsearch", "kibana"}


@ours
def test_our_services_have_an_init_and_write_to_volumes_and_tmp_only(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    home = service["environment"]["PAGESIGHT_HOME"]
    mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
    assert home in mounted or home.startswith("/tmp/")
    assert service["tmpfs"][0].startswith("/tmp:")


# -- the image


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} (.+)$", DOCKERFILE, re.MULTILINE)


def test_the_image_is_made_in_two_stages_from_a_pinned_python_that_fits() -> None:
    stages = instructions("FROM")
    assert len(stages) == 2
    for stage in stages:
        version = re.match(r"python:3\.(\d+)\.\d+-slim-\w+", stage)
        assert version
        assert int(version[1]) >= int(PROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = {source for line in instructions("COPY") for source in line.split()[:-1]}

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_image_has_every_package_of_the_project() -> None:
    copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied
    assert PROJECT["project"]["readme"] in copied


def test_the_image_s_user_is_not_root() -> None:
    *_, user = instructions("USER")
    assert user.split(":")[0] not in ("root", "0")


def test_the_image_has_libreoffice_without_what_is_only_recommended() -> None:
    assert "libreoffice-writer" in DOCKERFILE
    assert all("--no-install-recommends" in run for run in instructions("RUN") if "apt-get install" in run)


def test_the_image_starts_a_command_that_there_is() -> None:
    (command,) = instructions("CMD")
    program, name = yaml.safe_load(command)
    assert program == "pagesight"
    assert load_command(name)


def test_the_image_keeps_state_where_compose_mounts_its_volume() -> None:
    assert f"PAGESIGHT_HOME={SERVICES['worker']['environment']['PAGESIGHT_HOME']}" in DOCKERFILE
