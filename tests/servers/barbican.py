"""A private Barbican that keeps secrets in an SQLite file, and as much of Keystone as it and its clients ask for."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

from tests.servers.home import Home
from tests.servers.packages import fetch
from tests.servers.ports import LOOPBACK
from tests.servers.server import Server, greet, running

__all__ = ["Barbican", "Identity", "barbican"]

_PACKAGE: Final = "python3-barbican"
_PYTHON: Final = "/usr/bin/python3"
_RUN: Final = """
import sys
from wsgiref.simple_server import make_server
from paste.deploy import loadapp
make_server(sys.argv[2], int(sys.argv[3]), loadapp("config:" + sys.argv[1])).serve_forever()
"""
_SERVICE: Final = ("barbican", "passwordofbarbican")
_CONFIGURATION: Final = """\
[DEFAULT]
host_href = http://{host}:{port}
sql_connection = sqlite:///{folder}/barbican.sqlite
db_auto_create = true
log_file = {folder}/barbican.log
transport_url = fake://
[keystone_authtoken]
www_authenticate_uri = {identity}
auth_url = {identity}
auth_type = password
username = {user}
password = {password}
user_domain_name = Default
project_name = service
project_domain_name = Default
[queue]
enable = false
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=
"""
# As Debian's, where tokens are asked of Keystone.
_PASTE: Final = """\
[composite:main]
use = egg:Paste#urlmap
/: versions
/v1: api
[pipeline:versions]
pipeline = versionapp
[pipeline:api]
pipeline = authtoken context apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[app:versionapp]
paste.app_factory = barbican.api.app:create_version_app
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
"""


class Identity:
    """Keystone: passwords become tokens, and a service is told whose token it was shown. `users`: their passwords."""

    def __init__(self) -> None:
        self.users = {"breezeblock": "passwordofbreezeblock", _SERVICE[0]: _SERVICE[1]}
        self.catalog: list[dict[str, Any]] = []
        self.url = ""

    def version(self) -> dict[str, Any]:
        return {"version": {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": self.url}]}}

    def log_in(self, told: Any) -> str | None:
        """A token for the body of a request."""
        user = told["auth"]["identity"]["password"]["user"]
        return f"token-of-{user['name']}" if self.users.get(user["name"]) == user["password"] else None

    def of(self, token: str | None) -> dict[str, Any] | None:
        """What a token stands for."""
        name = (token or "").removeprefix("token-of-")
        if name not in self.users:
            return None
        domain = {"id": "default", "name": "Default"}
        return {
            "token": {
                "methods": ["password"],
                "user": {"id": name, "name": name, "domain": domain},
                "project": {"id": "5c1f9a4e0f9b4d0c8d0a3b8e7f6d5c4b", "name": "service", "domain": domain},
                "roles": [{"id": "r", "name": "service" if name == _SERVICE[0] else "creator"}],
                "catalog": self.catalog,
                "issued_at": "2020-01-01T00:00:00.000000Z",
                "expires_at": "2100-01-01T00:00:00.000000Z",
            }
        }


def _endpoints(url: str) -> list[dict[str, Any]]:
    return [
        {"id": interface, "interface": interface, "region": "one", "region_id": "one", "url": url}
        for interface in ("public", "internal")
    ]


@contextmanager
def _identity() -> Iterator[Identity]:
    made = Identity()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.rstrip("/") == "/v3":
                self._answer(200, made.version())
                return
            found = made.of(self.headers["X-Subject-Token"])
            self._answer(404 if found is None else 200, found or {})

        def do_POST(self) -> None:
            token = made.log_in(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(401 if token is None else 201, made.of(token) or {}, token)

        def _answer(self, status: int, body: dict[str, Any], token: str | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if token is not None:
                self.send_header("X-Subject-Token", token)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what tests print is about what they test."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    made.url = f"http://{LOOPBACK}:{server.server_address[1]}/v3"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


class Barbican(Server):
    """See `server.Server`."""

    READY_S: ClassVar = 120.0

    def __init__(self, home: Home, identity: Identity, name: str = "barbican") -> None:
        fetch(_PACKAGE)
        super().__init__(home, name)
        self.identity: Final = identity
        self.url: Final = f"http://{self.host}:{self.port}"
        identity.catalog = [
            {"id": type_, "type": type_, "name": type_, "endpoints": _endpoints(url)}
            for type_, url in (("key-manager", self.url), ("identity", identity.url))
        ]
        user, password = _SERVICE
        text = _CONFIGURATION.format(
            host=self.host, port=self.port, folder=self.folder, identity=identity.url, user=user, password=password
        )
        (self.folder / "barbican.conf").write_text(text)
        (self.folder / "paste.ini").write_text(_PASTE)

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return (_PYTHON, "-c", _RUN, str(self.folder / "paste.ini"), self.host, str(self.port))

    def environ(self) -> Mapping[str, str]:
        """See `server.Server`. Where it looks for its configuration."""
        return {"HOME": str(self.folder)}

    def look(self) -> None:
        """See `server.Server`."""
        greet(self, b"GET / HTTP/1.0\r\n\r\n", hears=b"HTTP/1.0 300")


@contextmanager
def barbican() -> Iterator[Barbican]:
    """A server of one's own for the length of a block."""
    with _identity() as identity, running("bb", lambda home: Barbican(home, identity)) as server:
        yield server
