"""A git host and a model host on one loopback port.

`/git/<path>` is git's smart HTTP protocol, spoken by git's own `http-backend` (a CGI program);
everything else is a file. Not for anything but tests: it answers whoever connects.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from .git import environment, git

_PIECE = 1 << 16


class Server:
    """Serves the bare repositories below `root/git` and the files below `root`, until `stop`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._http = _Http(root)
        self._thread = threading.Thread(target=self._http.serve_forever, name="server", daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        """Returns the URL of a path below the root."""
        return f"http://127.0.0.1:{self._http.server_port}/{path}"

    def stop(self) -> None:
        """Ends it: from now on connections are refused."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    # As real hosts have it. Of more connections than the usual five at once, the kernel drops the first packet,
    # and the next one comes a second later.
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backend = _http_backend()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def __init__(self, request, client_address, server: _Http) -> None:
        super().__init__(request, client_address, server, directory=str(server.root))

    def do_GET(self) -> None:
        if self.path.startswith("/git/"):
            self._git()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        if self.path.startswith("/git/"):
            self._git()
        else:
            self.send_error(405)

    def log_message(self, *_: object) -> None:
        """Stays silent: the test prints what matters."""

    def _git(self) -> None:
        # A file, not a pipe: git may answer before it has read everything.
        with tempfile.TemporaryFile() as body:
            self._read_body(body)
            body.seek(0)
            cgi = subprocess.Popen(
                [self.server.backend], stdin=body, stdout=subprocess.PIPE, env=self._cgi_environment()
            )
        with cgi:
            assert cgi.stdout is not None
            status, headers = _cgi_head(cgi.stdout)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while piece := cgi.stdout.read1(_PIECE):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    def _cgi_environment(self) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
            "SERVER_PROTOCOL": self.protocol_version,
        }
        return environment() | variables

    def _read_body(self, body: IO[bytes]) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            body.write(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body.write(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers


def _cgi_head(output: IO[bytes]) -> tuple[int, list[tuple[str, str]]]:
    status, headers = 200, []
    for line in iter(output.readline, b""):
        text = line.decode("latin-1").strip()
        if not text:
            break
        name, _, value = text.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((name, value.strip()))
    return status, headers


def _http_backend() -> str:
    program = Path(git("--exec-path")) / "git-http-backend"
    if found := shutil.which(program):
        return found
    raise RuntimeError(f"`{program}` is not there: install all of git, not a minimal one")
