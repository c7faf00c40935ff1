"""The loop of the OCR processes: requests, replies, limits, and the end with the parent.

`pipeline.vision.ocr.process` starts them. They use the frames of `pipeline.core.child_side`:

    {"width": …, "height": …} and width x height x 3 bytes of RGB, rows top down
    -> {"lines": [{"text": …, "confidence": …, "corners": [[x, y] x 4]}, …], "model": …}
    or {"error": …}      this page cannot be read
    or {"unusable": …}   no page can be read

Standard library only.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.child_side import begin, receive, send
from pipeline.core.confinement import Confinement, interpreter_paths

Line = dict[str, Any]
#: From raw RGB, width and height to lines, and the name of the model that found them if there are several.
FindLines = Callable[[bytes, int, int], tuple[list[Line], str | None]]


def ocr_rights(memory_mb: int, *, program: Path | None = None) -> Confinement:
    """Return the rights of an OCR process: it reads code and models, and writes nothing.

    Args:
        memory_mb: address space in MiB, of this process and of each process that it starts.
        program: the engine, if it is a program that is started.
    """
    limits = {resource.RLIMIT_AS: memory_mb << 20, resource.RLIMIT_FSIZE: 0}
    readable = [*interpreter_paths(), *([program] if program else [])]
    return Confinement(readable, programs=program is not None, limits=limits)


def serve(descriptor: int, load: Callable[[], FindLines], rights: Confinement) -> None:
    """Serve on a socket until the parent ends. The process leads its process group, and the whole group ends with it.

    Args:
        load: loads the engine; called for the first page.
        rights: what this process keeps, see `ocr_rights`.
    """
    connection = socket.socket(fileno=descriptor)
    begin(connection, rights, _kill_group)
    find_lines = None
    while (received := receive(connection)) is not None:
        request, pixels, _ = received
        reply: dict[str, Any]
        try:
            find_lines = find_lines or load()
        except Exception as error:  # a broken installation may raise anything; the parent reports it
            reply = {"unusable": f"{type(error).__name__}: {error}"[:500]}
        else:
            try:
                lines, model = find_lines(pixels, request["width"], request["height"])
                reply = {"lines": lines, "model": model}
            except Exception as error:  # numpy's, OpenCV's and onnxruntime's errors come through untranslated
                reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        send(connection, reply)


def _kill_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
