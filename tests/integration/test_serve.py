"""`pagesight serve` over HTTP: what is shown, to whom, and that nothing else of the archive can be had."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import PageStatus, Tombstone
from pipeline.core.url_signing import UrlPrefix
from pipeline.web.viewing import STRIP_PAGES
from support.object_store import Bucket, FaultyStore, says
from support.pagesight_runs import MakePagesight, make_pdf
from support.readings import FAILURE
from support.serving import (
    DOCUMENT,
    SECRET,
    SIGNER,
    TOKEN,
    Served,
    image_of,
    page_of,
    served,
    shelve,
    thumbnail_of,
)

HOSTILE = "</div><script>alert(1)</script><img src=\"http://127.0.0.1/x\" onerror='go()'>{{ 7 * 7 }} &amp;"


class Elements(HTMLParser):
    """Every element of a page, with the names of its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name for name, _ in attrs}))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


@pytest.fixture
def open_server(archive: Archive) -> Iterator[Served]:
    with served(archive) as server:
        yield server


@pytest.fixture
def keyed(archive: Archive) -> Iterator[Served]:
    with served(archive, secret=SECRET) as server:
        yield server


# -- images


def test_an_image_is_served_as_it_lies_in_the_archive(archive: Archive, open_server: Served) -> None:
    reading = shelve(archive)
    assert reading.image is not None
    for url, key, media_type in (
        (image_of(reading), reading.image.key, "image/jpeg"),
        (thumbnail_of(reading), reading.image.thumbnail_key, "image/webp"),
    ):
        answer = open_server.ask(url)
        assert answer.status == 200
        assert answer.body == archive.images.get(key)
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Length"] == str(len(answer.body))


def test_a_browser_that_has_it_gets_it_no_second_time(archive: Archive, open_server: Served) -> None:
    url = image_of(shelve(archive))
    etag = open_server.ask(url).headers["ETag"]

    for known in (etag, f'"other", W/{etag}', "*"):
        answer = open_server.ask(url, {"If-None-Match": known})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert open_server.ask(url, {"If-None-Match": '"other"'}).status == 200
    assert open_server.ask(thumbnail_of(shelve(archive, 2))).headers["ETag"] != etag


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_part_is_had_by_its_range(archive: Archive, open_server: Served, asked: str, part: slice) -> None:
    url = image_of(shelve(archive))
    whole = open_server.ask(url)
    answer = open_server.ask(url, {"Range": asked, "If-Range": whole.headers["ETag"]})

    begin, end, _ = part.indices(len(whole.body))
    assert (answer.status, answer.body) == (206, whole.body[part])
    assert answer.headers["Content-Range"] == f"bytes {begin}-{end - 1}/{len(whole.body)}"


def test_a_range_that_cannot_be_had_is_told_or_ignored(archive: Archive, open_server: Served) -> None:
    url = image_of(shelve(archive))
    whole = open_server.ask(url)

    beyond = open_server.ask(url, {"Range": f"bytes={len(whole.body)}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.body)}")
    for ignored in ("bytes=", "bytes=-", "lines=1-2", "bytes=0-1,5-6", f"bytes={'9' * 5000}-"):
        assert open_server.ask(url, {"Range": ignored}).body == whole.body
    assert open_server.ask(url, {"Range": "bytes=0-9", "If-Range": '"other"'}).body == whole.body


def test_head_tells_what_get_would_and_sends_nothing(archive: Archive, open_server: Served) -> None:
    reading = shelve(archive)
    for url in (image_of(reading), page_of(reading)):
        head, whole = open_server.ask(url, method="HEAD"), open_server.ask(url)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(whole.body))
        assert head.headers["ETag"] == whole.headers["ETag"]
    assert open_server.ask(image_of(reading), method="POST").status == 405


def test_nothing_else_of_the_archive_can_be_had(archive: Archive, open_server: Served, tmp_path: Path) -> None:
    reading = shelve(archive)
    assert reading.image is not None
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    names = [path.relative_to(archive.url).as_posix() for path in Path(archive.url).rglob("*") if path.is_file()]
    others = [name for name in names if not name.startswith("images/")]
    assert others
    tried = [
        *others,
        "../outside.jpg",
        "images/../../outside.jpg",
        f"images/../readings/works/{DOCUMENT}/1.1.json",
        reading.image.key.replace("images/", "images//"),
        reading.image.key.upper(),
        reading.image.key + "\0",
        str(Path(archive.url) / reading.image.key),
    ]
    for name in tried:
        for path in (quote(name), quote(name, safe=""), name.replace("..", "%2e%2e").replace("\0", "%00")):
            answer = open_server.ask(f"/page-images/{path}")
            assert answer.status == 404, name
            assert "Page not found" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        f"../answers/{DOCUMENT}/1",
        f"works/../{DOCUMENT}/1",
        f"works/{DOCUMENT}/0",
        f"works/{DOCUMENT}/01",
        f"works/{DOCUMENT}/{'9' * 5000}",
        f"works/{DOCUMENT}/1/",
        f"works/{DOCUMENT}/x",
        f"other/{DOCUMENT}/1",
        f"works/{'e' * 64}/1",
        f"works/{DOCUMENT}/2",
        "",
    ],
)
def test_a_page_that_is_none_is_not_found(archive: Archive, open_server: Served, path: str) -> None:
    assert open_server.ask(page_of(shelve(archive))).status == 200
    for spelled in (path, quote(path, safe="")):
        answer = open_server.ask(f"/view/{spelled}")
        assert answer.status == 404
        assert "Search in Kibana or with" in answer.text


# -- who may see it


def test_with_a_secret_each_url_needs_its_own_key(archive: Archive, keyed: Served) -> None:
    first, second = shelve(archive, 1, 2), shelve(archive, 2, 2)
    for url in (page_of, image_of, thumbnail_of):
        right = url(first, SIGNER)
        assert keyed.ask(right).status == 200
        bare, key = right.split("?")
        forged = f"{key[:-1]}{'A' if key[-1] != 'A' else 'B'}"
        for path in (bare, f"{bare}?key=", f"{bare}?{forged}", f"{url(second)}?{key}", f"{bare}?token={SECRET}"):
            answer = keyed.ask(path)
            assert answer.status == 403, path
            assert "key" in answer.text
    # Whether there is anything is not told either.
    assert keyed.ask(f"/view/works/{'e' * 64}/1").status == 403
    assert keyed.ask(f"/view/{SIGNER.signed(UrlPrefix.PAGES, f'works/{chr(101) * 64}/1')}").status == 404


def test_who_has_a_pages_key_gets_to_its_image_and_its_neighbours(archive: Archive, keyed: Served) -> None:
    first, second = shelve(archive, 1, 2), shelve(archive, 2, 2)
    html = keyed.ask(page_of(first, SIGNER)).text
    links = {unescape(found) for found in re.findall(r'(?:href|src)="(/[^"]*)"', html)}

    assert {page_of(second, SIGNER), image_of(first, SIGNER), thumbnail_of(second, SIGNER)} <= links
    assert all(keyed.ask(link).status == 200 for link in links)
    jump = keyed.ask(f"{page_of(first, SIGNER)}&page=2")
    assert (jump.status, jump.headers["Location"]) == (303, page_of(second, SIGNER))


def test_the_token_opens_everything(archive: Archive) -> None:
    reading = shelve(archive)
    with served(archive, secret=SECRET, token=TOKEN) as server:
        for url in (page_of(reading), image_of(reading)):
            assert server.ask(url, {"Authorization": f"Bearer {TOKEN}"}).status == 200
            for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer {SECRET}"):
                assert server.ask(url, {"Authorization": wrong}).status == 403
        assert server.ask(page_of(reading, SIGNER)).status == 200


def test_the_token_in_a_url_becomes_a_cookie_and_leaves_the_url(archive: Archive) -> None:
    reading = shelve(archive)
    with served(archive, token=TOKEN) as server:
        assert server.ask(page_of(reading)).status == 403
        answer = server.ask(f"{page_of(reading)}?a=1&token={TOKEN}")
        assert (answer.status, answer.headers["Location"]) == (303, f"{page_of(reading)}?a=1")
        cookie, *attributes = answer.headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=lax"} <= set(attributes)
        assert TOKEN not in cookie
        assert server.ask(page_of(reading), {"Cookie": cookie}).status == 200
        assert server.ask(thumbnail_of(reading), {"Cookie": cookie}).status == 200
        assert server.ask(page_of(reading), {"Cookie": cookie[:-1]}).status == 403
        behind_tls = server.ask(f"{page_of(reading)}?token={TOKEN}", {"X-Forwarded-Proto": "https"})
        assert "Secure" in behind_tls.headers["Set-Cookie"].split("; ")
        elsewhere = server.ask(f"//example.org/?token={TOKEN}")
        assert not elsewhere.headers.get("Location", "/").startswith("//")
    with served(archive, token=TOKEN + "new") as server:
        assert server.ask(page_of(reading), {"Cookie": cookie}).status == 403


def test_an_open_server_answers_by_names_of_this_machine_only(archive: Archive, open_server: Served) -> None:
    url = page_of(shelve(archive))
    for host in ("127.0.0.1:8765", "localhost", "[::1]:80"):
        assert open_server.ask(url, {"Host": host}).status == 200
    for host in ("pages.example.org", "127.0.0.1.example.org", "localhost.example.org:80", ""):
        assert open_server.ask(url, {"Host": host}).status == 403


# -- what a page shows


def test_a_page_shows_all_that_is_known_of_it(archive: Archive, open_server: Served) -> None:
    shelve(archive, 1, 3)
    reading = shelve(archive, 2, 3, page_section="Häuser")
    shelve(archive, 3, 3)
    html = unescape(open_server.ask(page_of(reading)).text)

    for words in (
        "a.pdf",
        "Jahresbericht",
        "A bar chart.",
        "Bars of three colours.",
        "Die Häuser am Kai",
        "The houses on the quay",
        "Häuser",
        "Harbour & Sons",
        "truncated",
        "/in/b.zip/a.pdf",
        "jina-vlm, revision 1",
        "2 calls, 3,500 tokens in, 200 out, 4.5 s",
        "Garamond",
    ):
        assert words in html
    assert 'alt="Bars of three colours." lang="en" dir="ltr"' in html
    assert re.search(r'class="said" lang="de" dir="ltr">Die Häuser am Kai<', html)
    assert re.search(rf'rel="prev" href="/view/works/{DOCUMENT}/1"', html)
    assert re.search(rf'rel="next" href="/view/works/{DOCUMENT}/3"', html)


def test_a_failed_page_says_why_and_what_can_be_done(archive: Archive, open_server: Served) -> None:
    nothing = dict.fromkeys(("image", "text", "description", "caption", "translation", "layer_text", "model"))
    reading = shelve(archive, status=PageStatus.FAILED, error=FAILURE, **nothing)
    html = open_server.ask(page_of(reading)).text

    for words in ("no answer", "Run again.", "2 attempts", "This page has no image."):
        assert words in html


def test_text_that_runs_from_right_to_left_is_said_to(archive: Archive, open_server: Served) -> None:
    reading = shelve(archive, text="ما فائدته", text_language="ar", language="fa", caption=None)
    html = open_server.ask(page_of(reading)).text

    assert re.search(r'class="said" lang="ar" dir="rtl">ما فائدته<', html)
    assert 'alt="A bar chart." lang="en" dir="ltr"' in html


def test_what_a_page_says_is_shown_and_never_obeyed(archive: Archive, open_server: Served) -> None:
    said = ("text", "description", "caption", "translation", "layer_text", "page_label", "page_section")
    reading = shelve(archive, name=HOSTILE, **dict.fromkeys(said, HOSTILE))
    answer = open_server.ask(page_of(reading))

    assert "<script>alert" not in answer.text
    assert "onerror='go()'" not in answer.text
    assert unescape(answer.text).count(HOSTILE) >= len(said)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    elements = Elements()
    elements.feed(answer.text)
    assert "style" not in {tag for tag, _ in elements.found}
    assert [names for tag, names in elements.found if tag == "script"] == [{"src", "defer"}]
    assert not [name for _, names in elements.found for name in names if name == "style" or name.startswith("on")]


def test_a_page_is_asked_about_anew_each_time(archive: Archive, open_server: Served) -> None:
    reading = shelve(archive)
    first = open_server.ask(page_of(reading))
    assert open_server.ask(page_of(reading), {"If-None-Match": first.headers["ETag"]}).status == 304

    newer = reading.model_copy(update={"revision": 2, "description": "Newer words."})
    archive.readings("works", DOCUMENT).page(1).advance(reading, lambda _: newer)
    again = open_server.ask(page_of(reading), {"If-None-Match": first.headers["ETag"]})
    assert again.status == 200
    assert "Newer words." in again.text


def test_a_deleted_page_is_gone(archive: Archive, open_server: Served) -> None:
    reading, other = shelve(archive, 1, 2), shelve(archive, 2, 2)
    grave = Tombstone(collection="works", document_id=DOCUMENT, page_number=1, deletion=1, revision=2)
    archive.readings("works", DOCUMENT).page(1).advance(reading, lambda _: grave)

    answer = open_server.ask(page_of(reading))
    assert answer.status == 410
    assert "was deleted" in answer.text
    assert page_of(reading) not in open_server.ask(page_of(other)).text


def test_a_long_document_shows_some_of_its_pages_and_ways_to_the_others(archive: Archive, open_server: Served) -> None:
    readings = [shelve(archive, page, 2000) for page in range(1, 90)]
    html = open_server.ask(page_of(readings[40])).text
    strip = [int(page) for page in re.findall(r'<li><a href="/view/works/d+/(\d+)"', html)]

    assert strip == list(range(41 - STRIP_PAGES, 41 + STRIP_PAGES + 1))
    assert html.count('loading="lazy"') == len(strip)
    ways = [int(page) for page in re.findall(r'class="more" href="/view/works/d+/(\d+)"', html)]
    assert ways == [41 - 2 * STRIP_PAGES, 41 + 2 * STRIP_PAGES]


# -- where the archive is


def test_an_archive_in_a_bucket_is_served_just_so(bucket: Bucket) -> None:
    archive = Archive(Store(f"{bucket.url}/kept"))
    reading = shelve(archive)
    assert reading.image is not None
    with served(archive, secret=SECRET) as server:
        assert server.ask(image_of(reading, SIGNER)).body == archive.images.get(reading.image.key)
        assert "A bar chart." in server.ask(page_of(reading, SIGNER)).text
        assert server.ask(f"/view/{SIGNER.signed(UrlPrefix.PAGES, f'works/{DOCUMENT}/2')}").status == 404


def test_an_archive_that_is_away_is_told_and_comes_back(bucket: Bucket, faulty_store: FaultyStore) -> None:
    archive = Archive(Store(f"{bucket.url}/kept"))
    reading = shelve(archive)
    with served(archive) as server:
        faulty_store.faults = [says(503, "SlowDown")]
        away = server.ask(image_of(reading))
        assert (away.status, away.headers["Retry-After"]) == (503, "10")
        assert "Nothing is lost" in away.text
        assert server.ask(image_of(reading)).status == 200


# -- the command


def test_the_command_serves_what_records_lead_to_and_ends_by_ctrl_c(
    make_pagesight: MakePagesight, elasticsearch_url: str
) -> None:
    pagesight = make_pagesight(elasticsearch_url, serve_port=0, serve_secret=SECRET)
    make_pdf(pagesight.files / "deep.pdf", 2, seed=5)
    assert pagesight.index().code == 0
    first, _ = pagesight.page_records("deep.pdf")

    run = pagesight.start("serve", "--json")
    run.until(lambda: "url" in run.stdout)
    told = json.loads(run.stdout)
    assert told["access"] == "by key"
    server = Served(int(told["url"].rpartition(":")[2]))
    run.until(lambda: server.ask("/livez").status == 200)
    page = server.ask(f"/view/{first['view']['page']}")
    assert page.status == 200
    assert "Volume 5, sheet 1" in page.text
    assert server.ask(f"/page-images/{first['view']['thumbnail']}").headers["Content-Type"] == "image/webp"
    assert server.ask("/").status == 403
    run.interrupt()
    ended = run.ended()
    assert ended.code == 0
    for key in re.findall(r"key=([\w-]+)", json.dumps(first["view"])):
        assert key not in ended.stdout + ended.stderr
    pagesight.assert_nothing_left()


def test_sigterm_ends_it_too(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight("http://127.0.0.1:1", serve_port=0)
    run = pagesight.start("serve")
    run.until(lambda: "open to this machine" in run.stdout)
    run.interrupt(signal.SIGTERM)
    assert run.ended().code == 0


def test_a_port_that_is_taken_is_told(make_pagesight: MakePagesight) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = make_pagesight("http://127.0.0.1:1", serve_port=taken.getsockname()[1]).run("serve")
    assert ended.code == 2
    assert "PAGESIGHT_SERVE_PORT" in ended.stderr


def test_other_machines_are_served_by_key_or_token_only(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight("http://127.0.0.1:1", serve_host="0.0.0.0", serve_port=0)
    ended = pagesight.run("serve")
    assert ended.code == 2
    assert "PAGESIGHT_SERVE_SECRET" in ended.stderr

    pagesight.set(serve_token=TOKEN)
    run = pagesight.start("serve")
    run.until(lambda: "by token" in run.stdout)
    run.interrupt()
    assert run.ended().code == 0


def test_without_a_cluster_pages_are_served_and_the_search_says_so(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight("", serve_port=0)
    reading = shelve(pagesight.archive)
    run = pagesight.start("serve", "--json")
    run.until(lambda: "url" in run.stdout)
    server = Served(int(json.loads(run.stdout)["url"].rpartition(":")[2]))
    run.until(lambda: server.ask("/livez").status == 200)
    assert server.ask(page_of(reading)).status == 200
    searched = server.ask("/?q=harbour")
    assert searched.status == 503
    assert "The search cannot be reached now" in searched.text
    api = server.ask("/api/v1/collections")
    assert api.status == 502
    assert "no cluster is configured" in json.loads(api.body)["detail"]
    assert server.ask("/api/v1/batches").status == 200
    run.interrupt()
    assert run.ended().code == 0
