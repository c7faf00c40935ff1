"""What a run shows while it goes on."""

import io
import threading
import time

import pytest
from rich.console import Console

from pipeline.batches.local_runner import RunTally
from pipeline.cli.progress import RunProgress
from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken, Waiting


@pytest.fixture
def cancel() -> CancelToken:
    return CancelToken()


def test_what_a_server_said_is_shown_word_for_word(cancel: CancelToken) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    waiting = Waiting("elasticsearch", "no shard for [/_bulk] of [bold]pages", time.time())

    def wait() -> None:
        with pytest.raises(Stopped):
            cancel.wait(60, waiting)

    waiter = threading.Thread(target=wait)
    waiter.start()
    try:
        while cancel.waiting is None:
            time.sleep(0.001)
        with RunProgress(RunTally(), cancel, console):
            pass
    finally:
        cancel.stop()
        waiter.join()
    assert "no shard for [/_bulk] of [bold]pages" in shown.getvalue()
