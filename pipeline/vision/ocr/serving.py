"""What the OCR processes have in common: how they talk to their parent, their limits, and how they end.

They are started by `pipeline.vision.ocr.process` and talk over a stream socket:

    width and height (4 bytes each, network order), then width x height x 3 bytes of RGB, rows top down
    -> a length (4 bytes) and JSON: {"lines": [{"text": …, "confidence": …, "corners": [[x, y] x 4]}, …], "model": …}
                                 or {"error": …}      this page cannot be read
                                 or {"unusable": …}   no page can

Standard library only.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

REQUEST_HEAD = struct.Struct("!II")
REPLY_HEAD = struct.Struct("!I")

Line = dict[str, Any]
#: From raw RGB, width and height to lines, and the name of the model that found them where there are several.
FindLines = Callable[[bytes, int, int], tuple[list[Line], str | None]]


def serve(descriptor: int, load: Callable[[], FindLines], memory_mb: int) -> None:
    """Serve on a socket until the parent goes. The process leads its process group, and all of that ends with it.

    `load` is called when the first page comes. `memory_mb` is address space in MiB, of this process and of each that it
    starts.
    """
    connection = socket.socket(fileno=descriptor)
    _end_with_parent(connection)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    find_lines = None
    while (head := connection.recv(REQUEST_HEAD.size, socket.MSG_WAITALL)) != b"":
        width, height = REQUEST_HEAD.unpack(head)
        pixels = connection.recv(3 * width * height, socket.MSG_WAITALL)
        reply: dict[str, Any]
        try:
            find_lines = find_lines or load()
        except Exception as error:  # whatever a broken installation raises; the parent tells people
            reply = {"unusable": f"{type(error).__name__}: {error}"[:500]}
        else:
            try:
                lines, model = find_lines(pixels, width, height)
                reply = {"lines": lines, "model": model}
            except Exception as error:  # numpy's, OpenCV's and onnxruntime's errors come through untranslated
                reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        body = json.dumps(reply).encode()
        connection.sendall(REPLY_HEAD.pack(len(body)) + body)


def _end_with_parent(connection: socket.socket) -> None:
    """End with all that was started here when the socket's other end closes, even in the middle of a C call."""

    def watch() -> None:
        hangup = select.poll()
        hangup.register(connection, 0)
        hangup.poll()
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
