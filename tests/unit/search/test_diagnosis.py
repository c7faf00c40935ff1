"""What follows from an error of Elasticsearch: messages as a real node of 9.5.0 writes them."""

from __future__ import annotations

import pytest

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.search.diagnosis import Consequence, diagnose

WAIT, RECORD, HALT = Consequence.WAIT, Consequence.RECORD, Consequence.HALT


def error(kind: str, reason: str, **more: object) -> dict[str, object]:
    return {"type": kind, "reason": reason, "root_cause": [{"type": kind, "reason": reason}]} | more


def block(words: str, index: str = "index [pages-v1] ") -> dict[str, object]:
    return error("cluster_block_exception", f"{index}blocked by: [{words}];")


BLOCKS = [
    (429, block("TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has …"), "Free disk space"),
    (403, block("FORBIDDEN/8/index write (api)"), '/INDEX/_settings {"index.blocks.write": null}'),
    (403, block("FORBIDDEN/5/index read-only (api)"), "index.blocks.read_only"),
    (403, block("FORBIDDEN/7/index read (api)"), "index.blocks.read"),
    (403, block("FORBIDDEN/9/index metadata (api)"), "index.blocks.metadata"),
    (403, block("FORBIDDEN/6/cluster read-only (api)", ""), "/_cluster/settings"),
    (403, block("FORBIDDEN/13/cluster read-only / allow delete (api)", ""), "cluster.blocks.read_only_allow_delete"),
]
PASSING = [
    (400, error("index_closed_exception", "closed", index="pages-v1"), "_open"),
    (429, error("circuit_breaking_exception", "[parent] Data too large, data for [query] would be …"), "heap"),
    (429, error("es_rejected_execution_exception", "rejected execution of primary operation"), ""),
    (503, error("unavailable_shards_exception", "[pages-v1][0] primary shard is not active"), ""),
    (500, error("io_exception", "No space left on device"), ""),
    (503, "upstream connect error", ""),
]
HALTING = [
    (
        400,
        error(
            "validation_exception",
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] "
            "maximum normal shards open; for more information, see …;",
        ),
        "max_shards_per_node",
    ),
    (403, error("security_exception", "current license is non-compliant for [security]"), "_license"),
    (401, error("security_exception", "api key is expired"), "pagesight security key"),
    (401, error("security_exception", "unable to authenticate user [x]"), "PAGESIGHT_ELASTICSEARCH_API_KEY"),
    (403, error("security_exception", "action [indices:admin/create] is unauthorized"), "docs/security.md"),
    (
        400,
        error("illegal_argument_exception", "… [500], multiple index templates may not match during index creation"),
        "PAGESIGHT_ELASTICSEARCH_PREFIX",
    ),
    (
        400,
        error("illegal_argument_exception", "no write index is defined for alias [pages-write]. The …"),
        "_cat/aliases",
    ),
    (
        400,
        error("illegal_argument_exception", "alias [pages] has more than one index associated with it"),
        "_cat/aliases",
    ),
    (404, error("index_not_found_exception", "no such index [pages-write] and [require_alias] …"), "pagesight setup"),
    (
        400,
        {
            "type": "search_phase_execution_exception",
            "reason": "all shards failed",
            "root_cause": [
                {"type": "query_shard_exception", "reason": "No mapping found for [page.number] in order to sort on"}
            ],
        },
        "pagesight setup --check",
    ),
]
RECORDS = [
    (400, error("document_parsing_exception", "[1:13] object mapping for [image] tried to parse …"), "--check"),
    (400, error("strict_dynamic_mapping_exception", "[1:9] mapping set to strict, dynamic introduction …"), "--check"),
    (400, error("illegal_argument_exception", "Document contains at least one immense term in field"), ""),
    (413, "Request Entity Too Large", ""),
]


@pytest.mark.parametrize(
    ("consequence", "status", "body", "remedy"),
    [
        (consequence, *case)
        for consequence, cases in ((WAIT, BLOCKS + PASSING), (HALT, HALTING), (RECORD, RECORDS))
        for case in cases
    ],
)
def test_each_error_has_its_consequence_and_its_own_remedy(consequence, status, body, remedy):
    found = diagnose(status, body)
    assert found.consequence is consequence
    assert remedy in found.remedy
    assert (body if isinstance(body, str) else str(body["reason"]).split(";")[0]) in found.cause


@pytest.mark.parametrize(("status", "body", "remedy"), BLOCKS)
def test_a_block_is_waited_for_and_the_wait_names_the_remedy(status, body, remedy):
    waited = diagnose(status, body).error(7.0)
    assert isinstance(waited, ServiceUnavailable)
    assert waited.retry_after_seconds == 7.0
    assert remedy in str(waited)


def test_a_request_that_stays_wrong_is_refused_and_a_missing_right_is_not_a_block():
    for status, body, _ in HALTING + RECORDS:
        assert isinstance(diagnose(status, body).error(), ServiceRefused)


def test_a_cause_is_told_once():
    assert diagnose(403, block("FORBIDDEN/8/index write (api)")).cause.count("FORBIDDEN") == 1
