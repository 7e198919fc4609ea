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
from keystone import conf
from keystone.wsgi.api import application
def lived(environ, start_response):
    # A test may ask for a token that soon ends.
    conf.CONF.set_override("expiration", int(environ.get("HTTP_X_LIVES_S", 3600)), "token")
    return application(environ, start_response)
# One request at a time: two that write at once would find SQLite locked, and Keystone answers 500 then.
serve(lived, host=host, port=int(port), threads=1)
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

    def __init__(self, home: Home, name: str = "keystone", *, more: str = "") -> None:
        self._bin = environment("keystone", REQUIREMENTS) / "bin"
        self._more = more
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

    def add_user(self, name: str, password: str, *, project: str, roles: Sequence[str] = ("member",)) -> str:
        """Somebody who has these roles in a project of this name, which is made if there is none: its id."""
        token = self._log_in()
        found = self._ask(token, f"projects?name={project}")["projects"]
        if not found:
            found = [self._ask(token, "projects", {"project": {"name": project, "domain_id": "default"}})["project"]]
        user = {"name": name, "password": password, "domain_id": "default"}
        user_id = self._ask(token, "users", {"user": user})["user"]["id"]
        for role in roles:
            (one,) = self._ask(token, f"roles?name={role}")["roles"]
            self._ask(token, f"projects/{found[0]['id']}/users/{user_id}/roles/{one['id']}", method="PUT")
        return str(found[0]["id"])

    def change_password(self, name: str, password: str) -> None:
        """As its administrator; all tokens that the user has are revoked by that."""
        token = self._log_in()
        (user,) = self._ask(token, f"users?name={name}")["users"]
        self._ask(token, f"users/{user['id']}", {"user": {"password": password}}, method="PATCH")

    def token(
        self, name: str, password: str, *, project: str | None, system: bool = False, lives_s: int | None = None
    ) -> str:
        """A token of a user: for a project, for the whole system, or for nothing. With `lives_s` it soon ends."""
        domain = {"id": "default"}
        user = {"user": {"name": name, "domain": domain, "password": password}}
        scope: dict[str, Any] = {"scope": {"project": {"name": project, "domain": domain}}} if project else {}
        scope |= {"scope": {"system": {"all": True}}} if system else {}
        return self._issue({"identity": {"methods": ["password"], "password": user}, **scope}, lives_s=lives_s)

    def narrow_token(self, name: str, password: str, *, project: str, rules: Sequence[Mapping[str, str]]) -> str:
        """A token of an application credential of that user's, which has these access rules."""
        token = self.token(name, password, project=project)
        me = self._ask(token, "auth/tokens", subject=token)["token"]["user"]["id"]
        wanted = {"application_credential": {"name": f"narrow-{token[-16:]}", "access_rules": list(rules)}}
        made = self._ask(token, f"users/{me}/application_credentials", wanted)["application_credential"]
        known = {"id": made["id"], "secret": made["secret"]}
        return self._issue({"identity": {"methods": ["application_credential"], "application_credential": known}})

    def revoke(self, token: str) -> None:
        """A token, before its time."""
        self._ask(token, "auth/tokens", method="DELETE", subject=token)

    def offer(self, type_: str, name: str, url: str) -> None:
        """Put a service into the catalogue; `%(project_id)s` in its URL is for whoever asks."""
        token = self._log_in()
        made = self._ask(token, "services", {"service": {"type": type_, "name": name}})["service"]
        endpoint = {"service_id": made["id"], "interface": "public", "region": self.REGION, "url": url}
        self._ask(token, "endpoints", {"endpoint": endpoint})

    def _log_in(self) -> str:
        return self.token(self.USER, self.PASSWORD, project=self.PROJECT)

    def _issue(self, auth: Mapping[str, Any], *, lives_s: int | None = None) -> str:
        headers = {} if lives_s is None else {"X-Lives-S": str(lives_s)}
        with self._open("auth/tokens", {"auth": auth}, headers) as answer:
            return str(answer.headers["X-Subject-Token"])

    def _ask(
        self, token: str, path: str, body: object = None, *, method: str | None = None, subject: str | None = None
    ) -> Any:
        headers = {"X-Auth-Token": token} | ({} if subject is None else {"X-Subject-Token": subject})
        with self._open(path, body, headers, method) as answer:
            return json.loads(answer.read() or b"null")

    def _open(self, path: str, body: object, headers: Mapping[str, str], method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}/{path}", data, sent, method=method)
        return urllib.request.urlopen(request, timeout=_ANSWER_S)

    def _conf(self, folder: Path) -> Path:
        return folder / "keystone.conf"

    def _configure(self, folder: Path) -> None:
        self._conf(folder).write_text(_CONFIGURATION.format(folder=folder) + self._more)

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


def keystone(*, more: str = "") -> AbstractContextManager[Keystone]:
    """A server of one's own for the length of a block; `more` are sections of its configuration."""
    return running("ks", lambda home: Keystone(home, more=more))
