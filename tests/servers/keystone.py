"""A private Keystone that keeps everything in an SQLite file, and in whose catalogue a test writes what it likes.

Its packages come from the package index, into an environment of their own: `requirements-keystone.txt` names all of them.
"""

import grp
import json
import os
import pwd
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.servers.environments import environment
from tests.servers.home import Home
from tests.servers.seeds import copy_seed
from tests.servers.server import Server, greet, running

__all__ = ["Keystone", "keystone"]

REQUIREMENTS: Final = Path(__file__).with_name("requirements-keystone.txt")
_RUN: Final = """
import sys
sys.argv[1:], (host, port) = ["--config-file", sys.argv[1]], sys.argv[2:4]
from waitress import serve
from keystone.wsgi.api import application
# One request at a time: two that write at once would find SQLite locked, and Keystone answers 500 then.
serve(application, host=host, port=int(port), threads=1)
"""
_CONFIGURATION: Final = """\
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.sqlite
sqlite_synchronous = false
[fernet_tokens]
key_repository = {folder}/keys
[identity]
# As few as it takes: nobody guesses the passwords of a test.
password_hash_rounds = 4
[cache]
enabled = false
"""
_ANSWER_S: Final = 30.0


class Keystone(Server):
    """See `server.Server`."""

    READY_S: ClassVar = 120.0
    NOT_READY: ClassVar = (OSError,)

    USER: Final = "admin"
    PASSWORD: Final = "passwordofadmin"
    PROJECT: Final = "admin"
    REGION: Final = "one"

    def __init__(self, home: Home, name: str = "keystone") -> None:
        self._bin = environment("keystone", REQUIREMENTS) / "bin"
        super().__init__(home, name)
        self.url: Final = f"http://{self.host}:{self.port}/v3"
        self._data = self.folder / "data"
        copy_seed(
            "keystone", recipe=REQUIREMENTS.read_text() + _CONFIGURATION, make=self._make, to=self._data, user=None
        )
        self._configure(self._data)
        self._has_begun = False

    @property
    def credentials(self) -> Mapping[str, str]:
        """The administrator's, as clients read them from their environment."""
        return {
            "OS_AUTH_URL": self.url,
            "OS_USERNAME": self.USER,
            "OS_PASSWORD": self.PASSWORD,
            "OS_PROJECT_NAME": self.PROJECT,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": self.REGION,
            "OS_IDENTITY_API_VERSION": "3",
        }

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return (str(self._bin / "python"), "-c", _RUN, str(self._conf(self._data)), self.host, str(self.port))

    def look(self) -> None:
        """See `server.Server`."""
        greet(self, b"GET /v3 HTTP/1.0\r\n\r\n", hears=b"HTTP/1.0 200")

    def start(self) -> None:
        """See `server.Server`."""
        if not self._has_begun:
            whom = ("--bootstrap-username", self.USER, "--bootstrap-password", self.PASSWORD)
            where = ("--bootstrap-public-url", self.url, "--bootstrap-region-id", self.REGION)
            _manage(
                self._bin, self._conf(self._data), "bootstrap", *whom, "--bootstrap-project-name", self.PROJECT, *where
            )
            self._has_begun = True
        super().start()

    def add_user(self, name: str, password: str, *, project: str) -> str:
        """Somebody who may use a project of this name, which is made as well: its id."""
        token = self._log_in()
        made = self._ask(token, "projects", {"project": {"name": project, "domain_id": "default"}})["project"]
        user = {"name": name, "password": password, "domain_id": "default"}
        user_id = self._ask(token, "users", {"user": user})["user"]["id"]
        roles = self._ask(token, "roles?name=member")["roles"]
        self._ask(token, f"projects/{made['id']}/users/{user_id}/roles/{roles[0]['id']}", method="PUT")
        return str(made["id"])

    def offer(self, type_: str, name: str, url: str) -> None:
        """Put a service into the catalogue; `%(project_id)s` in its URL is for whoever asks."""
        token = self._log_in()
        made = self._ask(token, "services", {"service": {"type": type_, "name": name}})["service"]
        endpoint = {"service_id": made["id"], "interface": "public", "region": self.REGION, "url": url}
        self._ask(token, "endpoints", {"endpoint": endpoint})

    def _log_in(self) -> str:
        domain = {"id": "default"}
        password = {"user": {"name": self.USER, "domain": domain, "password": self.PASSWORD}}
        identity = {"methods": ["password"], "password": password}
        scope = {"project": {"name": self.PROJECT, "domain": domain}}
        with self._open("auth/tokens", {"auth": {"identity": identity, "scope": scope}}) as answer:
            return str(answer.headers["X-Subject-Token"])

    def _ask(self, token: str, path: str, body: object = None, *, method: str | None = None) -> Any:
        with self._open(path, body, token, method) as answer:
            return json.loads(answer.read() or b"null")

    def _open(self, path: str, body: object, token: str = "", method: str | None = None) -> Any:
        headers = {"Content-Type": "application/json", "X-Auth-Token": token}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        return urllib.request.urlopen(request, timeout=_ANSWER_S)

    def _conf(self, folder: Path) -> Path:
        return folder / "keystone.conf"

    def _configure(self, folder: Path) -> None:
        self._conf(folder).write_text(_CONFIGURATION.format(folder=folder))

    def _make(self, folder: Path) -> None:
        """An empty database, and keys for tokens."""
        (folder / "keys").mkdir(mode=0o700)
        self._configure(folder)
        for words in (("db_sync",), ("fernet_setup", "--keystone-user", _me(), "--keystone-group", _mine())):
            _manage(self._bin, self._conf(folder), *words)


def _manage(bin_: Path, configuration: Path, *words: str) -> None:
    """Run its own command. Raises RuntimeError with what it said."""
    done = subprocess.run(
        [bin_ / "keystone-manage", "--config-file", configuration, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"keystone-manage {words[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _mine() -> str:
    return grp.getgrgid(os.getgid()).gr_name


def keystone() -> AbstractContextManager[Keystone]:
    """A server of one's own for the length of a block."""
    return running("ks", Keystone)
