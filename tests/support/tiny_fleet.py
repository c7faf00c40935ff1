"""A worker with one task, delivered as `workers.app` delivers: it notes that it began, and holds its message.

`celery -A support.tiny_fleet worker`. ALIVE_SECONDS in the environment is how long a worker is believed to live.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

from celery import Celery, Task, signals

from pipeline.core.settings import load
from workers.app import configuration
from workers.recovery.poison import Poison
from workers.redis.connection import connect
from workers.redis.heartbeats import Heartbeats, WorkerInfo, worker_id

#: What the worker tells the test: [message, worker, deaths] of everything begun, and what was ended.
BEGUN = "test:begun"
ENDED = "test:ended"
#: Once it is there, everybody ends what is in hand.
GO = "test:go"

own = configuration(load())
del own["imports"], own["beat_schedule"]
app = Celery("tiny")
app.conf.update(own)

client = connect(load())
heartbeats = Heartbeats(client, worker_id(), alive_seconds=float(os.environ.get("ALIVE_SECONDS", "2")))
poison = Poison(client, heartbeats)


def info() -> WorkerInfo:
    return WorkerInfo(heartbeats.worker_id, socket.gethostname(), os.getpid(), time.time(), "consuming", 3, 0)


def keep_house() -> None:
    while True:
        heartbeats.beat(info())
        with app.connection_for_write() as connection, connection.channel() as channel:
            poison.restore_orphans(channel)
        time.sleep(0.3)


@signals.worker_ready.connect
def _begin(**_: Any) -> None:
    threading.Thread(target=keep_house, daemon=True).start()


@app.task(name="tiny.hold", bind=True)
def hold(task: Task, message: str) -> None:
    deaths = poison.begin(message, task.request.properties["delivery_tag"])
    client.rpush(BEGUN, json.dumps([message, heartbeats.worker_id, len(deaths)]))
    while not client.exists(GO):
        time.sleep(0.05)
    poison.end(message)
    client.rpush(ENDED, message)
