"""A private Swift of one proxy and one server each for accounts, containers and objects, with TempAuth."""

import os
import pwd
import socket
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import ClassVar, Final

from tests.servers.home import Daemon, Home
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.server import Server, greet, running

__all__ = ["Swift", "swift"]

# The packages with Debian's programs bring a web server and a system log along; the library is all that is needed.
_LIBRARY: Final = "/usr/lib/python3/dist-packages/swift/proxy/server.py"
_PYTHON: Final = "/usr/bin/python3"
# Its own configuration is looked for in one place unless told otherwise before everything else is imported.
_RUN: Final = """
import sys
from swift.common import utils
utils.SWIFT_CONF_FILE = sys.argv[3]
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[1], sys.argv[2]))
"""
# One partition on one device, one copy.
_RING: Final = """
import sys
from swift.common.ring import RingBuilder
builder = RingBuilder(1, 1, 0)
builder.add_dev(dict(region=1, zone=1, ip=sys.argv[2], port=int(sys.argv[3]), device="d1", weight=1))
builder.rebalance()
builder.get_ring().save(sys.argv[1])
"""
_KINDS: Final = ("account", "container", "object")
_SWIFT: Final = """\
[swift-hash]
swift_hash_path_prefix = only
swift_hash_path_suffix = for-tests
[storage-policy:0]
name = one
default = yes
"""
_COMMON: Final = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_address = {folder}/no-log
"""
_STORAGE: Final = """\
devices = {folder}/dev
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
replication_server = true
conn_timeout = 10
node_timeout = 60
"""
_PROXY: Final = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = {host}:{memcached}
[filter:tempauth]
use = egg:swift#tempauth
user_test_owner = {owner_key} .admin
user_test_reader = {reader_key}
"""


class Swift(Server):
    """See `server.Server`. The verbs are about the proxy; what is behind it runs until the end."""

    READY_S: ClassVar = 120.0

    SWIFT_USER: Final = "test:owner"
    SWIFT_KEY: Final = "ownerswiftkeyownerswiftkey"
    READER_USER: Final = "test:reader"
    READER_KEY: Final = "readerswiftkeyreaderswiftkey"

    def __init__(self, home: Home, name: str = "swift") -> None:
        find(_LIBRARY, package="python3-swift")
        self._memcached_program = find("memcached", package="memcached")
        super().__init__(home, name)
        self._memcached = Daemon(home, "memcached")
        self._memcached_port = free_port()
        self._storage = {kind: (Daemon(home, kind), free_port()) for kind in _KINDS}
        self._has_begun = False
        (self.folder / "dev" / "d1").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(_SWIFT)
        for kind, (_, port) in self._storage.items():
            (self.folder / f"{kind}.conf").write_text(
                self._common(port) + _STORAGE.format(folder=self.folder, kind=kind)
            )
        proxy = _PROXY.format(
            host=LOOPBACK, memcached=self._memcached_port, owner_key=self.SWIFT_KEY, reader_key=self.READER_KEY
        )
        (self.folder / "proxy.conf").write_text(self._common(self.port) + proxy)

    @property
    def swift_url(self) -> str:
        """For authentication."""
        return f"http://{self.host}:{self.port}/auth/v1.0"

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return self._program("proxy")

    def look(self) -> None:
        """See `server.Server`."""
        greet(self, b"GET /healthcheck HTTP/1.0\r\n\r\n", hears=b"HTTP/1.1 200")

    def start(self) -> None:
        """See `server.Server`."""
        if not self._has_begun:
            self._start_storage()
            self._has_begun = True
        super().start()

    def _start_storage(self) -> None:
        listen = ("-l", LOOPBACK, "-p", str(self._memcached_port), "-U", "0", "-m", "16")
        self._memcached.start(self._memcached_program, *listen, "-u", _user())
        for kind, (daemon, port) in self._storage.items():
            ring = (str(self.folder / f"{kind}.ring.gz"), LOOPBACK, str(port))
            subprocess.run([_PYTHON, "-c", _RING, *ring], check=True, capture_output=True, timeout=self.READY_S)
            daemon.start(*self._program(kind))
        for daemon, port in self._storage.values():
            # The proxy is well without them, and answers 503 to everything.
            daemon.wait_ready(partial(_connect, port), seconds=self.READY_S, unless=(OSError,))

    def _common(self, port: int) -> str:
        return _COMMON.format(host=LOOPBACK, port=port, user=_user(), folder=self.folder)

    def _program(self, kind: str) -> Sequence[str]:
        return (
            _PYTHON,
            "-c",
            _RUN,
            str(self.folder / f"{kind}.conf"),
            f"{kind}-server",
            str(self.folder / "swift.conf"),
        )


def _connect(port: int) -> None:
    socket.create_connection((LOOPBACK, port), timeout=1.0).close()


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def swift() -> AbstractContextManager[Swift]:
    """A server of one's own for the length of a block."""
    return running("sw", Swift)
