import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import structlog
from celery import Celery

from pipeline.core.settings import Settings
from pipeline.core.threads import ContextThreads
from workers.observability.logs import bound, configure

HOSTILE = "invoice\n2026-11-24 [error] all is lost\x1b[2J\u202e.pdf"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def configured(capsys: pytest.CaptureFixture[str]) -> Callable[..., Callable[[], list[str]]]:
    """Configures logging from settings; what it returns gives the lines logged since."""

    def configure_with(**values: object) -> Callable[[], list[str]]:
        configure(Settings().model_copy(update=values))
        return lambda: capsys.readouterr().err.splitlines()

    return configure_with


Configured = Callable[..., Callable[[], list[str]]]


def test_without_a_terminal_each_event_is_a_line_of_json_with_what_is_worked_on(configured: Configured) -> None:
    lines = configured()

    with bound(batch="b1", document="d1", page=3):
        structlog.get_logger("ours").warning("page failed", cause="too large")

    (line,) = lines()
    event = json.loads(line)
    assert {"event": "page failed", "level": "warning", "batch": "b1", "page": 3, "cause": "too large"}.items() <= (
        event.items()
    )
    assert event["logger"] == "ours"
    assert event["timestamp"].endswith("Z")


def test_what_was_bound_is_gone_after_the_block_also_where_it_ended_by_an_error(configured: Configured) -> None:
    lines = configured()

    with pytest.raises(ValueError), bound(batch="b1"), bound(page=1):
        raise ValueError
    structlog.get_logger().info("idle")

    assert not {"batch", "page"} & json.loads(lines()[0]).keys()


def test_threads_that_work_a_task_s_pages_log_its_fields_and_those_of_no_other(configured: Configured) -> None:
    lines = configured()

    def page(number: int) -> None:
        with bound(page=number):
            logging.getLogger("library").info("worked")

    with ContextThreads(2) as threads:
        for task in ("t1", "t2"):
            with bound(task=task):
                for _ in threads.map(page, range(4)):
                    pass

    worked = [(event["task"], event["page"]) for event in map(json.loads, lines())]
    assert sorted(worked) == [(task, number) for task in ("t1", "t2") for number in range(4)]


def test_records_of_libraries_and_warnings_go_the_same_way(configured: Configured) -> None:
    lines = configured()

    logging.getLogger("kombu.connection").error("lost %s of %d", "one", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)

    first, second = map(json.loads, lines())
    assert (first["event"], first["logger"], first["level"]) == ("lost one of 2", "kombu.connection", "error")
    assert "old" in second["event"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_hostile_file_name_stays_on_its_line_and_steers_no_terminal(configured: Configured, log_format: str) -> None:
    lines = configured(log_format=log_format)

    structlog.get_logger().info("opened", path=HOSTILE, nested={"path": [HOSTILE]})
    logging.getLogger("library").warning("opened %s", HOSTILE)

    logged = lines()
    assert len(logged) == 2
    assert all(line.isprintable() for line in logged)
    if log_format == "json":
        assert json.loads(logged[0])["path"] == HOSTILE


def test_a_file_name_that_is_no_text_can_be_logged(configured: Configured) -> None:
    lines = configured(log_format="text")

    structlog.get_logger().info("opened", path=os.fsdecode(b"\xff.pdf"))

    assert r"\udcff.pdf" in lines()[0]


def test_a_traceback_is_within_one_line_of_json(configured: Configured) -> None:
    lines = configured()

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed too")

    ours, theirs = map(json.loads, lines())
    assert "ValueError: invoice" in ours["exception"]
    assert "ValueError: invoice" in theirs["exception"]


def test_on_a_terminal_the_lines_of_a_traceback_cannot_pass_for_events(configured: Configured) -> None:
    lines = configured(log_format="text")

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        structlog.get_logger().exception("failed")

    event, *traceback = lines()
    assert "failed" in event
    assert traceback
    assert all(line.startswith("    ") for line in traceback if line)
    assert all(line.isprintable() for line in traceback)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_shows_a_secret(monkeypatch: pytest.MonkeyPatch, configured: Configured, log_format: str) -> None:
    monkeypatch.setenv("PAGESIGHT_VLM_API_KEY", "jina_verysecret")
    monkeypatch.setenv("PAGESIGHT_REDIS_URL", "redis://:pass%2Fword1@redis:6379/0")
    lines = configured(log_format=log_format)

    log = structlog.get_logger()
    log.error("connecting to redis://:pass%2Fword1@redis:6379/0", elsewhere="https://writer:short@search:9200")
    log.error("refused", headers={"authorization": "Bearer jina_verysecret"}, words=["pass/word1"])
    log.error("refused", error=ConnectionError("jina_verysecret"))
    try:
        raise ConnectionError("pass/word1")
    except ConnectionError:
        logging.getLogger("library").exception("refused with %s", "jina_verysecret")

    text = "\n".join(lines())
    assert text.count("refused") == 3
    assert not [secret for secret in ("verysecret", "word1", "short") if secret in text]


def test_the_level_is_a_setting_and_requests_are_not_told_one_by_one(configured: Configured) -> None:
    lines = configured(log_level="warning")
    structlog.get_logger().info("too much")
    structlog.get_logger().warning("enough")
    assert [json.loads(line)["event"] for line in lines()] == ["enough"]

    lines = configured(log_level="debug")
    logging.getLogger("httpx2").info("HTTP Request: POST …")
    logging.getLogger("library").debug("detail")
    assert [json.loads(line)["event"] for line in lines()] == ["detail"]


def test_celery_leaves_logging_to_us(configured: Configured) -> None:
    lines = configured()

    Celery("test").log.setup(loglevel="DEBUG")
    logging.getLogger("celery.worker").warning("from Celery")

    assert [json.loads(line)["event"] for line in lines()] == ["from Celery"]


def test_a_process_logs_to_stderr_only() -> None:
    code = (
        "import structlog; from pipeline.core.settings import load; from workers.observability.logs import configure;"
        "configure(load()); structlog.get_logger().info('here')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == ""
    assert json.loads(run.stderr)["event"] == "here"
