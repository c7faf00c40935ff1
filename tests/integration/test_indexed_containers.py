"""Archives, messages and what PDFs carry, as a person has them indexed: by one process, and by a fleet."""

from __future__ import annotations

from pipeline.search import PAGES, SOURCES
from support.containers import carrying, mail, page, seven_zipped, tarred, zipped
from support.corpus import CORPUS, manifest
from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_pdf
from support.standin import Standin


def places(pagesight: Pagesight) -> dict[str, str | None]:
    """Where the pages lie that were read, below the folder of files, and in which container."""
    start = f"{pagesight.files}/"
    return {
        path.removeprefix(start): ",".join(record["document"].get("container", ())).removeprefix(start) or None
        for record in pagesight.records(PAGES).values()
        if record["status"] != "failed"
        for path in record["document"].get("path", ())
    }


def test_what_lies_in_containers_is_found_kept_and_forgotten_with_them(pagesight: Pagesight, standin: Standin):
    files = pagesight.files
    inner = zipped({"scan.pdf": page("scan")})
    (files / "box.zip").write_bytes(
        zipped({"post/letter.eml": mail("x", "y", {"inner.zip": inner}), "a.pdf": page("a")})
    )
    (files / "box.7z").write_bytes(seven_zipped({"b.pdf": page("b"), "notes.txt": b"words"}))
    (files / "shut.7z").write_bytes(seven_zipped({"c.pdf": page("c")}, "secret"))
    (files / "carrier.pdf").write_bytes(carrying(page("carrier"), {"carried.pdf": page("carried")}))
    first = pagesight.index()
    assert first.code == 1
    found = {
        "box.zip/post/letter.eml/inner.zip/scan.pdf": "box.zip/post/letter.eml/inner.zip",
        "box.zip/a.pdf": "box.zip",
        "box.7z/b.pdf": "box.7z",
        "carrier.pdf": None,
        "carrier.pdf/carried.pdf": "carrier.pdf",
    }
    said = "box.zip/post/letter.eml/message.html"
    assert {path: container for path, container in places(pagesight).items() if path != said} == found
    failures = {failure["path"]: failure["type"] for failure in pagesight.failures().values()}
    assert failures[f"{files}/box.7z/notes.txt"] == "unsupported"
    assert failures[f"{files}/shut.7z/c.pdf"] == "encrypted"
    sources = {record["path"].removeprefix(f"{files}/"): record for record in pagesight.records(SOURCES).values()}
    assert (sources["box.zip"]["members"], sources["box.zip/a.pdf"]["container"]) == (2, f"{files}/box.zip")
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()

    asked = standin.counters()["requests"]
    assert pagesight.index().json["pages"] == first.json["pages"]
    (files / "box.zip").write_bytes(zipped({"a.pdf": page("a")}))
    (files / "box.7z").unlink()
    (files / "carrier.pdf").rename(files / "renamed.pdf")
    assert pagesight.index().code == 1
    assert places(pagesight) == {
        "box.zip/a.pdf": "box.zip",
        "renamed.pdf": None,
        "renamed.pdf/carried.pdf": "renamed.pdf",
    }
    assert standin.counters()["requests"] == asked
    pagesight.assert_archive_and_index_agree()


def test_a_fleet_finds_what_lies_in_containers_and_sync_what_left_them(fleet: Fleet, standin: Standin):
    pagesight = fleet.pagesight
    files = pagesight.files
    scans = {f"{number}.pdf": page(f"scan {number}") for number in range(40)}
    (files / "scans.tgz").write_bytes(tarred(scans))
    book = make_pdf(files / "book.pdf", 20, 1)
    (files / "books.zip").write_bytes(
        zipped({"letters/book.pdf": book.read_bytes() + b"\n", "more.zip": zipped({"a.pdf": page("a")})})
    )
    fleet.start_workers(2)
    ended = fleet.until_ended(fleet.enqueue())
    # 3 files, an archive in one of them, and 42 members that are documents with pages.
    assert (ended.documents, ended.pages) == ({"complete": 46}, {"described": 81}), fleet.said()
    assert places(pagesight)["books.zip/more.zip/a.pdf"] == "books.zip/more.zip"
    asked = standin.counters()["requests"]
    assert fleet.until_ended(fleet.enqueue()).pages == {"described": 81}

    (files / "scans.tgz").write_bytes(tarred(dict(list(scans.items())[:38])))
    synced = pagesight.run("sync", files, "--delete", "--json")
    assert synced.code == 0, synced.stderr
    assert len(synced.json["vanished"]) == 2
    fleet.until(lambda: not pagesight.archive.open_batches())
    assert len(places(pagesight)) == 41
    assert standin.counters()["requests"] == asked
    pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left()


def test_a_damaged_archive_of_the_corpus_is_named(pagesight: Pagesight):
    manifest()
    assert pagesight.index(CORPUS / "office" / "testWORD_truncated.docx").code == 1
    (failure,) = pagesight.failures().values()
    assert failure["type"] == "corrupt"
