"""A double of an S3 store: it keeps what is put, in the order of bucket and key, and asks for a signature."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from .serving import Serving


class Bucket(Serving):
    """Takes objects on loopback. Use as a context."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}
        """Content types and contents, by `/bucket/key`."""
        super().__init__(_Requests)


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=k3y/"):
            return self._answer(403)
        self.server.double.objects[urlsplit(self.path).path] = (self.headers["Content-Type"], content)
        self._answer(200)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = self.server.double.objects.get(url.path)
        if found is None or "X-Amz-Signature=" not in url.query:
            return self._answer(403)
        self._answer(200, found[1])

    def log_message(self, *_: object) -> None:
        """Stays silent: the test prints what matters."""

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
