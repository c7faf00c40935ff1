"""`pagesight kibana` against the stand-in: what it installs, when it changes nothing, and how it fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from kibana_standin import Kibana
from kibana_standin.state import NEWEST, OLDEST
from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.core.settings import Settings
from pipeline.kibana import bundle, differences, install
from pipeline.kibana.errors import from_transport
from support.pagesight_runs import Pagesight

PAGES = ("index-pattern", "pagesight-pages")
DASHBOARD = ("dashboard", "pagesight-search")


@pytest.fixture
def kibana():
    with Kibana() as running:
        yield running


def configured(**given: object) -> Settings:
    return Settings().model_copy(update=given)


def settings(kibana: Kibana, **given: object) -> Settings:
    return configured(kibana_url=kibana.url, **given)


def view_of(kibana: Kibana, key: tuple[str, str] = PAGES) -> dict:
    return kibana.state.objects[key]["attributes"]


@pytest.mark.parametrize("versions", [OLDEST, NEWEST], ids=["oldest", "newest"])
def test_everything_is_installed_once(kibana, versions):
    kibana.state.versions = versions
    changes = install(settings(kibana), "default")
    assert "dashboard Pagesight: search" in changes
    assert "data view Pages" in changes
    assert "default data view" in changes
    assert sum(change.startswith("alert rule") for change in changes) == 2
    assert len(kibana.state.objects) == len(bundle(settings(kibana), "default").objects) + 1
    assert kibana.state.default_views == {"default": "pagesight-pages"}

    kibana.requests.clear()
    assert differences(settings(kibana), "default") == ()
    assert install(settings(kibana), "default") == ()
    assert kibana.changes == []


def test_a_check_says_what_an_installation_would_change_and_changes_nothing(kibana):
    expected = differences(settings(kibana), "pages")
    assert expected[0] == "space pages"
    assert kibana.changes == []
    assert install(settings(kibana), "pages") == expected


def test_two_spaces_and_two_prefixes_stand_beside_each_other(kibana):
    install(settings(kibana), "default")
    install(settings(kibana, elasticsearch_prefix="two-", pages_url="https://pages.example.org/p/"), "second")
    assert differences(settings(kibana), "default") == ()
    view = view_of(kibana, ("index-pattern", "second-pagesight-pages"))
    assert view["title"] == "two-pages"
    link = json.loads(view["fieldFormatMap"])["view.page"]["params"]["urlTemplate"]
    assert link == "https://pages.example.org/p/view/{{rawValue}}"
    assert view_of(kibana)["title"] == "pages"
    assert {space: rule["params"]["index"] for (space, _), rule in kibana.state.rules.items()} == {
        "default": ["pages"],
        "second": ["two-pages"],
    }
    dashboard = kibana.state.objects["dashboard", "second-pagesight-search"]
    assert {reference["id"].split("-")[0] for reference in dashboard["references"]} == {"second"}


def test_another_setting_is_a_difference(kibana):
    install(settings(kibana), "default")
    moved = settings(kibana, pages_url="https://pages.example.org")
    assert differences(moved, "default") == ("objects of another version or of other settings",)
    assert install(moved, "default") == ("objects of another version or of other settings",)
    assert install(moved, "default") == ()
    assert "https://pages.example.org/view/" in view_of(kibana)["fieldFormatMap"]


def test_what_was_deleted_in_kibana_comes_back(kibana):
    install(settings(kibana), "default")
    kibana.state.delete(*DASHBOARD)
    kibana.state.rules.popitem()
    first, second = install(settings(kibana), "default")
    assert first == "dashboard Pagesight: search"
    assert second.startswith("alert rule ")
    assert DASHBOARD in kibana.state.objects
    assert install(settings(kibana), "default") == ()


def test_what_was_changed_in_kibana_is_noticed_and_undone(kibana):
    install(settings(kibana), "default")
    kibana.state.edit(*DASHBOARD, title="Mine")
    assert differences(settings(kibana), "default") == ("objects that were changed in Kibana",)
    install(settings(kibana), "default")
    assert view_of(kibana, DASHBOARD)["title"] == "Pagesight: search"
    assert install(settings(kibana), "default") == ()


def test_that_people_use_fields_is_no_change(kibana):
    install(settings(kibana), "default")
    kibana.state.choose_field("pagesight-pages", "view.thumbnail")
    kibana.state.choose_field("pagesight-pages", "image.dpi")
    assert differences(settings(kibana), "default") == ()


def test_a_newer_kibana_is_noticed_once():
    with Kibana(versions=OLDEST) as kibana:
        install(settings(kibana), "default")
        kibana.state.versions = dict(NEWEST)
        kibana.state.objects = {key: kibana.state._migrated(entry) for key, entry in kibana.state.objects.items()}
        assert install(settings(kibana), "default") == ("objects that were changed in Kibana",)
        assert install(settings(kibana), "default") == ()


def test_a_default_data_view_that_people_chose_stays(kibana):
    kibana.state.default_views["default"] = "logs"
    assert "default data view" not in install(settings(kibana), "default")
    assert kibana.state.default_views == {"default": "logs"}


def test_thresholds_intervals_and_actions_of_rules_are_people_s_the_question_is_ours(kibana):
    install(settings(kibana), "default")
    rule = next(rule for rule in kibana.state.rules.values() if "failed" in rule["name"])
    action = {"id": "log", "group": "query matched", "params": {"message": "look"}, "uuid": "u"}
    rule["params"] |= {"threshold": [5], "timeWindowSize": 3}
    rule |= {"schedule": {"interval": "1m"}, "actions": [action | {"connector_type_id": ".server-log"}]}
    assert install(settings(kibana), "default") == ()

    rule["params"]["esQuery"] = json.dumps({"query": {"match_all": {}}})
    assert install(settings(kibana), "default") == (f"alert rule {rule['name']}",)
    assert json.loads(rule["params"]["esQuery"]) == {"query": {"term": {"status": "failed"}}}
    assert (rule["params"]["threshold"], rule["params"]["timeWindowSize"]) == ([5], 3)
    assert rule["schedule"] == {"interval": "1m"}
    assert [kept["params"] for kept in rule["actions"]] == [action["params"]]
    assert install(settings(kibana), "default") == ()


def test_one_role_searches_in_every_space_that_has_the_objects(kibana):
    install(settings(kibana), "default")
    assert install(settings(kibana), "second")[-3] == "role pagesight-kibana-reader"
    for space in ("default", "second"):
        assert differences(settings(kibana), space) == ()
    (role,) = kibana.state.roles.values()
    assert [entry["spaces"] for entry in role["kibana"]] == [["default", "second"]]
    assert role["elasticsearch"]["indices"][0]["privileges"] == ["read", "view_index_metadata"]
    role["elasticsearch"]["indices"][0]["privileges"].append("write")
    assert install(settings(kibana), "default") == ("role pagesight-kibana-reader",)


def test_without_security_there_are_no_roles(kibana):
    kibana.state.roles = None
    assert not any(change.startswith("role") for change in install(settings(kibana), "default"))
    assert install(settings(kibana), "default") == ()


def test_who_dies_in_the_middle_of_an_import_begins_it_again(kibana, monkeypatch):
    imports = []
    real = kibana.state.import_objects

    def breaking(*arguments, **how):
        imports.append(real(*arguments, **how))
        if len(imports) == 1:
            kibana.fault = (502, b"")
        return imports[-1]

    monkeypatch.setattr(kibana.state, "import_objects", breaking)
    with pytest.raises(ServiceUnavailable):
        install(settings(kibana), "default")
    kibana.fault = None
    assert differences(settings(kibana), "default")[0] == "objects of another version or of other settings"
    install(settings(kibana), "default")
    assert install(settings(kibana), "default") == ()


def test_a_kibana_that_is_too_old_refuses_the_objects():
    with Kibana(versions=OLDEST | {"search": "10.2.0"}) as kibana:
        with pytest.raises(ServiceRefused, match="more recent version") as caught:
            install(settings(kibana), "default")
        assert "upgrade Kibana" in caught.value.remedy
        assert not kibana.state.objects


def test_an_import_that_answers_200_and_failed_is_a_failure(kibana):
    install(settings(kibana), "default")
    kibana.state.delete(*DASHBOARD)
    refused = {"success": False, "successCount": 0, "errors": [kibana_error("missing_references")]}
    kibana.state.import_objects = lambda *_, **__: refused  # type: ignore[method-assign]
    with pytest.raises(ServiceRefused, match=r"search pagesight-x: missing_references \(index-pattern logs\)"):
        install(settings(kibana), "default")
    refused["errors"] = [kibana_error("conflict")] * 5
    with pytest.raises(ServiceRefused, match=r"search pagesight-x: conflict; .*; and 2 more"):
        install(settings(kibana), "default")


def kibana_error(kind: str) -> dict:
    references = [{"type": "index-pattern", "id": "logs"}]
    return {"type": "search", "id": "pagesight-x", "error": {"type": kind, "references": references}}


def test_without_a_lasting_encryption_key_all_but_the_rules_is_installed(kibana):
    kibana.state.keeps_keys = False
    with pytest.raises(ServiceRefused, match="encryption key") as caught:
        install(settings(kibana), "default")
    assert "xpack.encryptedSavedObjects.encryptionKey" in caught.value.remedy
    assert DASHBOARD in kibana.state.objects
    assert not kibana.state.rules


def test_keys_and_passwords_are_sent_and_never_shown():
    with Kibana(api_key="k3y", user="ann:s3cret") as kibana:
        with_user = kibana.url.replace("//", "//ann:s3cret@")
        assert install(configured(kibana_url=kibana.url, kibana_api_key=SecretStr("k3y")), "default")
        assert install(configured(kibana_url=with_user), "default") == ()
        with pytest.raises(ServiceRefused, match="answers 401") as caught:
            install(configured(kibana_url=with_user.replace("s3cret", "wr0ng")), "default")
        assert "PAGESIGHT_KIBANA_API_KEY" in caught.value.remedy
        assert "wr0ng" not in str(caught.value)


def test_who_may_not_write_is_told_which_privileges_are_missing(kibana):
    kibana.may_write = False
    with pytest.raises(ServiceRefused, match="answers 403: Unable to bulk_create") as caught:
        install(settings(kibana), "default")
    assert "Saved Objects Management" in caught.value.remedy
    assert differences(settings(kibana), "default")


def test_a_base_path_is_part_of_the_url():
    with Kibana(base_path="/kibana") as kibana:
        assert install(settings(kibana), "pages")
        assert install(configured(kibana_url=kibana.url + "/"), "pages") == ()
        with pytest.raises(ServiceRefused, match="answers 404") as caught:
            install(configured(kibana_url=kibana.url.removesuffix("/kibana")), "pages")
        assert "base path" in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (503, b'{"message": "Kibana server is not ready yet"}', ServiceUnavailable, "not ready yet"),
        (502, b"<html>", ServiceUnavailable, "502"),
        (429, b"", ServiceUnavailable, "429"),
        (302, b"", ServiceRefused, "302"),
        (200, b"<html>A login page</html>", ServiceRefused, "does not answer like Kibana"),
        (200, b"[]", ServiceRefused, "does not answer like Kibana"),
        (404, b"<html>", ServiceRefused, "404"),
        (404, b'{"error": "no handler found", "status": 404}', ServiceRefused, "404"),
        (413, b"", ServiceRefused, "413"),
    ],
)
def test_whatever_answers_is_understood(kibana, status, body, error, words):
    kibana.fault = (status, body)
    with pytest.raises(error, match=words) as caught:
        install(settings(kibana), "default")
    assert caught.value.remedy


def test_nobody_answers():
    with Kibana() as kibana:
        url = kibana.url
    with pytest.raises(ServiceUnavailable, match="cannot be reached") as caught:
        install(configured(kibana_url=url), "default")
    assert "PAGESIGHT_KIBANA_URL" in caught.value.remedy


def test_tls_wants_the_bundle_that_signed(tmp_path):
    certificate = tmp_path / "kibana.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    certificate.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "ca.pem").read_text())
    with Kibana(certificate=certificate) as kibana:
        assert install(settings(kibana, elasticsearch_ca_certs=tmp_path / "ca.pem"), "default")
        with pytest.raises(ServiceRefused, match="TLS fails: self-signed certificate") as caught:
            install(settings(kibana), "default")
        assert "CA_CERTS" in caught.value.remedy
        with pytest.raises(SettingsError, match="bundle cannot be read"):
            install(settings(kibana, elasticsearch_ca_certs=tmp_path / "none.pem"), "default")


@pytest.mark.parametrize("url", ["kibana:5601", "ftp://kibana", "http://", "http://[::1"])
def test_what_is_no_url_is_named(url):
    with pytest.raises(SettingsError, match="URL of Kibana"):
        install(configured(kibana_url=url), "default")


def test_without_a_url_the_way_by_hand_is_named():
    with pytest.raises(SettingsError, match="no Kibana") as caught:
        install(Settings(), "default")
    assert "kibana export" in caught.value.remedy


def _kinds(kind: type[Exception]) -> set[type[Exception]]:
    return {kind} | {found for below in kind.__subclasses__() for found in _kinds(below)}


@pytest.mark.parametrize("kind", sorted(_kinds(httpx2.RequestError), key=lambda kind: kind.__name__))
def test_every_error_of_the_library_becomes_one_of_ours(kind):
    error = from_transport(kind("words"), "kibana:5601")
    assert isinstance(error, PagesightError)
    assert error.remedy


class TestCommand:
    @pytest.fixture
    def pagesight(self, tmp_path: Path, kibana: Kibana) -> Pagesight:
        return Pagesight(tmp_path / "home", "http://127.0.0.1:1", kibana_url=kibana.url)

    def test_install_says_what_it_changed_and_check_what_differs(self, pagesight, kibana):
        checked = pagesight.run("kibana", "install", "--check", "--space", "pages", "--json")
        assert checked.code == 1
        installed = pagesight.run("kibana", "install", "--space", "pages", "--json")
        assert installed.code == 0, installed.stderr
        assert installed.json == {"space": "pages", "changes": checked.json["differences"]}
        pagesight.set(kibana_space="pages")
        again = pagesight.run("kibana", "install")
        assert (again.code, again.stdout) == (0, "Nothing changed.\n")
        assert pagesight.run("kibana", "install", "--check").code == 0

    def test_failures_are_cause_remedy_and_exit_code(self, pagesight, kibana):
        kibana.may_write = False
        ended = pagesight.run("kibana", "install")
        assert ended.code == 3
        assert "403" in ended.stderr
        assert "remedy:" in ended.stderr
        assert pagesight.run("kibana", "install", "--space", "No Space").code == 2

    def test_what_is_exported_can_be_imported_by_hand(self, pagesight, kibana, tmp_path):
        pagesight.set(kibana_url=None, elasticsearch_prefix="two-")
        file = tmp_path / "pagesight.ndjson"
        ended = pagesight.run("kibana", "export", file, "--json")
        assert ended.code == 0, ended.stderr
        upload = {"file": ("pagesight.ndjson", file.read_bytes())}
        answer = httpx2.post(
            kibana.url + "/api/saved_objects/_import", files=upload, headers={"kbn-xsrf": "x"}, trust_env=False
        ).json()
        assert (answer["success"], answer["successCount"]) == (True, ended.json["objects"])
        assert view_of(kibana)["title"] == "two-pages"
        assert pagesight.run("kibana", "export", tmp_path / "none" / "x.ndjson").code == 2
        assert pagesight.run("kibana", "export", tmp_path / "x.json").code == 2
