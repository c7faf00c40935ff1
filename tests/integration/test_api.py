"""The HTTP API over a real archive and a real cluster: what commands print, errors with remedies, cursors, ETags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.search.index import Index
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.serving import TOKEN, Answer, Served, served

NOWHERE = "a" * 64


@pytest.fixture
def filled(pagesight: Pagesight) -> Pagesight:
    make_pdf(pagesight.files / "report.pdf", 3, seed=1)
    make_picture(pagesight.files / "plate.png", 2)
    (pagesight.files / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    assert pagesight.index().code == 1
    return pagesight


@pytest.fixture
def api(filled: Pagesight) -> Iterator[Served]:
    with Index(filled.url) as index, served(filled.archive, index=index) as server:
        yield server


def get(server: Served, path: str) -> Any:
    answer = server.ask(f"/api/v1{path}")
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def problem(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.body)
    assert body["status"] == status
    assert body["title"]
    return body


def test_routes_serve_what_the_commands_print(api: Served, filled: Pagesight):
    assert get(api, "/collections") == filled.run("collections", "--json").json
    listed = filled.run("documents", "--json").json
    answer = get(api, "/documents")
    assert (answer["total"], answer["documents"], answer["next"]) == (2, listed["documents"], None)
    assert get(api, "/failures")["failures"] == filled.run("failures", "--json").json["failures"]
    batches = filled.run("batches", "--json").json["batches"]
    (batch,) = get(api, "/batches")["batches"]
    assert batch["id"] == batches[0]["id"]
    assert get(api, f"/batches/{batch['id']}") == batch
    document = next(entry["document"]["id"] for entry in listed["documents"] if entry["document"]["pages"] == 3)
    shown = filled.run("show", "report.pdf", "--json").json
    assert get(api, f"/documents/default/{document}") == shown
    (page,) = get(api, f"/documents/default/{document}/pages/2")["pages"]
    assert page == shown["pages"][1]


def test_a_list_is_read_in_parts_and_an_unchanged_answer_costs_nothing(api: Served):
    first = get(api, "/documents?limit=1&sort=pages")
    second = get(api, f"/documents?limit=1&sort=pages&cursor={first['next']}")
    assert [part["documents"][0]["document"]["pages"] for part in (first, second)] == [3, 1]
    assert get(api, f"/documents?limit=1&sort=pages&cursor={second['next']}")["documents"] == []
    etag = api.ask("/api/v1/collections").headers["ETag"]
    again = api.ask("/api/v1/collections", {"If-None-Match": etag})
    assert (again.status, again.body) == (304, b"")


def test_errors_are_problems_with_a_remedy(api: Served):
    missing = problem(api.ask("/api/v1/documents?collection=typo"), 404)
    assert missing["detail"] == "collection 'typo' does not exist"
    assert "There are: default." in missing["remedy"]
    problem(api.ask(f"/api/v1/documents/default/{NOWHERE}"), 404)
    problem(api.ask("/api/v1/batches/..%2fcollections"), 404)
    problem(api.ask("/api/v1/nothing"), 404)
    problem(api.ask("/api/v1/collections", method="DELETE"), 405)
    assert "Hand on `next`" in problem(api.ask("/api/v1/documents?cursor=WzFd"), 400)["remedy"]
    assert problem(api.ask("/api/v1/documents?limit=0"), 422)["detail"].startswith("limit: ")
    assert "Classes: " in problem(api.ask("/api/v1/failures?error=nonesuch"), 400)["remedy"]


def test_a_cluster_that_is_away_is_a_problem_that_passes(filled: Pagesight):
    with served(filled.archive) as server:
        answer = server.ask("/api/v1/collections")
        assert "Elasticsearch cannot be reached" in problem(answer, 503)["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert server.ask("/api/v1/batches").status == 200


def test_without_the_token_nothing_is_served(filled: Pagesight):
    with served(filled.archive, token=TOKEN) as server:
        refused = server.ask("/api/v1/batches")
        problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert server.ask("/api/v1/batches", {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_site_in_a_visitors_browser_reads_nothing(api: Served):
    problem(api.ask("/api/v1/collections", {"Host": "evil.example"}), 401)
    problem(api.ask("/api/v1/collections", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}), 401)


def test_openapi_names_every_route_and_its_errors(api: Served):
    described = get(api, "/openapi.json")
    assert described["openapi"].startswith("3.1")
    assert {"/collections", "/documents", "/failures", "/batches"} <= set(described["paths"])
    for path, methods in described["paths"].items():
        assert "404" in methods["get"]["responses"], path


def test_a_token_for_one_collection_sees_nothing_of_another(filled: Pagesight):
    assert filled.index("--collection", "works", filled.files / "report.pdf").code == 0
    document = filled.run("documents", "report", "-c", "works", "--json").json["documents"][0]["document"]["id"]
    plate = filled.run("show", "plate.png:1", "-c", "default", "--json").json["pages"][0]
    page = filled.run("show", "report.pdf:1", "-c", "works", "--json").json["pages"][0]
    token = filled.run("token", "create", "reader", "--collection", "works", "--json").json["token"]
    sent = {"Authorization": f"Bearer {token}"}
    with Index(filled.url) as index, served(filled.archive, index=index) as server:

        def ask(path: str) -> Answer:
            return server.ask(path, sent)

        seen = json.loads(ask("/api/v1/collections").body)
        assert [entry["name"] for entry in seen["collections"]] == ["works"]
        assert seen["not_indexed"] == []
        for route in ("/documents", "/failures", "/batches"):
            body = ask(f"/api/v1{route}").text
            assert "default" not in body, route
            assert "plate" not in body, route
            assert "There are: works." in problem(ask(f"/api/v1{route}?collection=default"), 404)["remedy"]
        problem(ask(f"/api/v1/documents/default/{document}"), 404)
        (batch,) = filled.run("batches", "-c", "default", "--json").json["batches"]
        problem(ask(f"/api/v1/batches/{batch['id']}"), 404)
        assert ask(f"/view/works/{document}/1").status == 200
        assert ask(f"/view/default/{document}/1").status == 404
        assert ask(f"/page-images/{page['image']['key']}").status == 200
        assert ask(f"/page-images/{plate['image']['key']}").status == 404
        assert server.ask("/api/v1/collections").status == 401
        signed_in = server.ask(f"/?token={token}")
        assert signed_in.status == 303
        cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}
        assert server.ask(f"/view/works/{document}/1", cookie).status == 200
    assert filled.run("token", "revoke", "reader").code == 0
    with served(filled.archive) as server:
        assert server.ask("/api/v1/batches", sent).status == 401


def test_a_search_serves_what_the_command_prints(api: Served, filled: Pagesight):
    printed = filled.run("search", "stand-in description -plate", "--size", "2", "--json").json
    served_hits = get(api, "/search?q=stand-in+description+-plate&limit=2")
    for answer in (printed, served_hits):
        for hit in answer["hits"]:
            hit["address"] = hit["address"].removeprefix("http://127.0.0.1:8765")
    assert served_hits == printed
    assert served_hits["total"] == 3
    assert get(api, "/search?q=&kind=scanned")["total"] == 1
    grouped = get(api, "/search?q=sheet&grouped=true&explained=true")
    assert (grouped["documents"], len(grouped["hits"][0]["more_pages"])) == (1, 2)
    assert grouped["hits"][0]["explanation"]
    assert "There are: " in problem(api.ask("/api/v1/search?q=x&type=papyrus"), 400)["remedy"]
    assert problem(api.ask("/api/v1/search"), 422)["detail"].startswith("q: ")
