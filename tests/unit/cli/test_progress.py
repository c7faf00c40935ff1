"""What a run shows while it goes on."""

import io
import threading
import time

import pytest
from rich.console import Console

from pipeline.batches.local_runner import Tally
from pipeline.cli.progress import RunProgress
from pipeline.core.errors import Stopped
from pipeline.core.retry import Patience, Waiting


@pytest.fixture
def patience() -> Patience:
    return Patience()


def test_what_a_server_said_is_shown_word_for_word(patience: Patience) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    waiting = Waiting("elasticsearch", "no shard for [/_bulk] of [bold]pages", time.time())

    def wait() -> None:
        with pytest.raises(Stopped):
            patience.wait(60, waiting)

    waiter = threading.Thread(target=wait)
    waiter.start()
    try:
        while patience.waiting is None:
            time.sleep(0.001)
        with RunProgress(Tally(), patience, console):
            pass
    finally:
        patience.stop()
        waiter.join()
    assert "no shard for [/_bulk] of [bold]pages" in shown.getvalue()
