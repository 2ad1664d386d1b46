"""What the doubles of this directory have in common: HTTP on a free port of loopback, until a context ends."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class Serving:
    """Answers with `requests`, each of which finds this object as `self.server.double`. Use as a context."""

    def __init__(self, requests: type[BaseHTTPRequestHandler]) -> None:
        self._http = _Http(("127.0.0.1", 0), requests)
        self._http.double = self
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    double: Serving

    def handle_error(self, *_: Any) -> None:
        """Stays silent: workers are killed in the middle of a question."""
