"""Servers of a test's own that answer in JSON: stand-ins for somebody else's, where it is to fail on demand."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answering", "serving"]


class Answering(BaseHTTPRequestHandler):
    """One connection, of which nothing is logged."""

    def read_body(self) -> bytes:
        """All of the request's."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: object, *, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """While inside, it answers."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
