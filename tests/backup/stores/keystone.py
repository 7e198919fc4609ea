"""As much of Keystone as a store asks for: it knows one user and one application credential, and answers as the real one does.

The token that it gives, and the place in its catalog, are those of a real Swift, which knows nothing of Keystone.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx
from tests.servers.ports import LOOPBACK
from tests.servers.radosgw import Radosgw

__all__ = ["APPLICATION", "PASSWORD", "Keystone", "keystone"]

PASSWORD: Final = {
    "username": "ann",
    "password": "passwordofann",
    "project_name": "backups",
    "user_domain_name": "people",
}
APPLICATION: Final = {"application_credential_id": "21dced0f", "application_credential_secret": "secretofapplication"}

# What the API reference says of POST /v3/auth/tokens.
_BY_PASSWORD: Final = {
    "identity": {
        "methods": ["password"],
        "password": {"user": {"name": "ann", "password": "passwordofann", "domain": {"name": "people"}}},
    },
    "scope": {"project": {"name": "backups", "domain": {"name": "Default"}}},
}
_BY_APPLICATION: Final = {
    "identity": {
        "methods": ["application_credential"],
        "application_credential": {"id": "21dced0f", "secret": "secretofapplication"},
    }
}


class Keystone:
    """`status` is answered instead of a token when it is not 201."""

    def __init__(self, swift: Radosgw) -> None:
        self.swift: Final = swift
        self.status = 201
        self.asked = 0
        self.url = ""

    def answer(self, told: Any) -> tuple[int, str, dict[str, Any]]:
        """Status, token, body."""
        self.asked += 1
        if self.status != 201:
            return self.status, "", {"error": {"code": self.status}}
        if told.get("auth") not in (_BY_PASSWORD, _BY_APPLICATION):
            return 401, "", {"error": {"code": 401, "message": "The request you have made requires authentication."}}
        owner = {"X-Auth-User": Radosgw.SWIFT_USER, "X-Auth-Key": Radosgw.SWIFT_KEY}
        given = httpx.get(self.swift.swift_url, headers=owner)
        return 201, given.headers["X-Auth-Token"], {"token": {"catalog": _catalog(given.headers["X-Storage-Url"])}}


def _catalog(storage_url: str) -> list[dict[str, Any]]:
    nowhere = "http://127.0.0.1:9/nothing/listens/here"
    endpoints = [
        {"id": "1", "interface": "public", "region": "one", "region_id": "one", "url": nowhere},
        {"id": "2", "interface": "internal", "region": "one", "region_id": "one", "url": nowhere},
        {"id": "3", "interface": "public", "region": "two", "region_id": "two", "url": nowhere},
        {"id": "4", "interface": "internal", "region": "two", "region_id": "two", "url": f"{storage_url}/"},
    ]
    return [
        {"id": "a", "type": "identity", "name": "keystone", "endpoints": endpoints[:1]},
        {"id": "b", "type": "object-store", "name": "swift", "endpoints": endpoints},
    ]


@contextmanager
def keystone(swift: Radosgw) -> Iterator[Keystone]:
    """One that listens for the length of a block."""
    made = Keystone(swift)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = self.path == "/identity/v3/auth/tokens"
            status, token, body = made.answer(told) if found else (404, "", {})
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if token:
                self.send_header("X-Subject-Token", token)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what tests print is about what they test."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    made.url = f"http://{LOOPBACK}:{server.server_address[1]}/identity/v3"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
