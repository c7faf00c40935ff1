"""moto's server, as a program: `python moto_process.py PORT`.

S3 decides at one stroke who of several conditional writers wins. moto looks first and writes then: in threads, two may
win. So requests are worked one after the other here.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


class OneAtATime:
    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with self._lock:
            return [b"".join(self._application(environ, start_response))]


if __name__ == "__main__":
    moto = DomainDispatcherApplication(create_backend_app)
    port = int(sys.argv[1])
    make_server("127.0.0.1", port, OneAtATime(moto), threaded=True, request_handler=MotoRequestHandler).serve_forever()
