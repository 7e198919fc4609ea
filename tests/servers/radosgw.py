"""A private Ceph of one monitor and one OSD that keeps its data in memory, and a gateway that speaks S3 and Swift."""

import json
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from tests.servers.certificates import write_certificate
from tests.servers.home import Daemon, Home
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port, free_ports
from tests.servers.server import Server, greet, running

__all__ = ["Radosgw", "radosgw"]

_PROGRAMS: Final = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph-authtool": "ceph-common",
    "monmaptool": "ceph-common",
    "ceph": "ceph-common",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
}
_COMMAND_S: Final = 120.0
_GATEWAY: Final = "client.rgw.a"
# Of one copy everywhere, with few placement groups, without authentication inside: it is one machine's, for minutes.
_CONFIGURATION: Final = """\
[global]
fsid = {fsid}
mon host = {monitor}
public addr = {host}
cluster addr = {host}
ms bind ipv6 = false
ms bind port min = {first}
ms bind port max = {last}
keyring = {folder}/keyring
run dir = {folder}
admin socket =
pid file =
log file =
log to stderr = true
err to stderr = true
crash dir = {folder}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 2
mon data avail crit = 1
[mon]
mon data = {folder}/mon
keyring = {folder}/mon.keyring
mon cluster log file = {folder}/cluster.log
auth allow insecure global id reclaim = false
[osd]
osd data = {folder}/osd
keyring = {folder}/osd/keyring
osd objectstore = memstore
memstore device bytes = 4294967296
osd class update on start = false
[{gateway}]
keyring = {folder}/keyring
rgw data = {folder}
rgw frontends = beast endpoint={host}:{port} ssl_endpoint={host}:{tls_port} {tls}
rgw swift account in url = true
rgw thread pool size = 64
"""


class Radosgw(Server):
    """See `server.Server`. The verbs are about the gateway; the cluster behind it runs until the end."""

    READY_S: ClassVar = 300.0  # it makes its pools first, and others may compute as well

    ACCESS_KEY: Final = "OWNERACCESSKEY"
    SECRET_KEY: Final = "ownersecretkeyownersecretkey"
    SWIFT_USER: Final = "owner:swift"
    SWIFT_KEY: Final = "ownerswiftkeyownerswiftkey"
    READER_USER: Final = "owner:reader"
    READER_KEY: Final = "readerswiftkeyreaderswiftkey"
    STRANGER_ACCESS_KEY: Final = "STRANGERACCESSKEY"
    STRANGER_SECRET_KEY: Final = "strangersecretkeystrangersecretkey"

    def __init__(self, home: Home, name: str = "rgw") -> None:
        self._programs = {program: find(program, package=package) for program, package in _PROGRAMS.items()}
        super().__init__(home, name)
        self.tls_port: Final = free_port()
        certificate, self.trusted = write_certificate(self.folder)
        self._monitor = Daemon(home, "mon")
        self._osd = Daemon(home, "osd")
        self._ports = free_ports(4)
        self._conf = self.folder / "ceph.conf"
        first, last = self._range()
        self._conf.write_text(
            _CONFIGURATION.format(
                fsid=uuid.uuid4(),
                monitor=self._address(),
                host=LOOPBACK,
                folder=self.folder,
                gateway=_GATEWAY,
                port=self.port,
                tls_port=self.tls_port,
                tls=f"ssl_certificate={certificate} ssl_private_key={certificate}",
                first=first,
                last=last,
            ),
            encoding="ascii",
        )
        self._has_begun = False

    @property
    def s3_url(self) -> str:
        """Without encryption."""
        return f"http://{self.host}:{self.port}"

    @property
    def s3_url_tls(self) -> str:
        """With a certificate that `trusted` vouches for."""
        return f"https://{self.host}:{self.tls_port}"

    @property
    def swift_url(self) -> str:
        """For authentication."""
        return f"{self.s3_url}/auth/v1.0"

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return (self._programs["radosgw"], "-f", "-c", str(self._conf), "-n", _GATEWAY)

    def look(self) -> None:
        """See `server.Server`: it lists the buckets of nobody."""
        greet(self, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", hears=b"HTTP/1.1 200")

    def start(self) -> None:
        """See `server.Server`."""
        if self._has_begun:
            super().start()
            return
        self._make_cluster()
        super().start()
        self._make_users()
        self._has_begun = True

    def _address(self) -> str:
        return f"[v2:{LOOPBACK}:{self._ports[0]},v1:{LOOPBACK}:{self._ports[1]}]"

    def _range(self) -> tuple[int, int]:
        """Ports that the OSD looks through for free ones: a hundred from one that is ours."""
        return self._ports[2], self._ports[2] + 100

    def _run(self, program: str, *arguments: str, told: str = "") -> str:
        command = [self._programs[program], *arguments]
        done = subprocess.run(
            command, cwd=self.folder, input=told, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr[-2000:]}"
        return done.stdout

    def _make_cluster(self) -> None:
        conf = ("-c", str(self._conf))
        every = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self._run("ceph-authtool", "-C", "keyring", "--gen-key", "-n", "client.admin", *every)
        self._run("ceph-authtool", "keyring", "--gen-key", "-n", _GATEWAY, *every)
        self._run("ceph-authtool", "-C", "mon.keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", "mon.keyring", "--import-keyring", "keyring")
        fsid = self._conf.read_text().split("fsid = ")[1].split()[0]
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", self._address(), "monmap")
        self._run("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "mon.keyring")
        self._monitor.start(self._programs["ceph-mon"], "-f", *conf, "-i", "a")

        osd, key = str(uuid.uuid4()), self._run("ceph-authtool", "--gen-print-key").strip()
        self._run("ceph", *conf, "osd", "new", osd, "-i", "-", told=json.dumps({"cephx_secret": key}))
        (self.folder / "osd").mkdir()
        (self.folder / "osd" / "keyring").write_text(f"[osd.0]\n\tkey = {key}\n")
        self._run("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._osd.start(self._programs["ceph-osd"], "-f", *conf, "-i", "0")

    def _make_users(self) -> None:
        admin = ("-c", str(self._conf), "-n", _GATEWAY)
        self._user(admin, "owner", self.ACCESS_KEY, self.SECRET_KEY)
        self._user(admin, "stranger", self.STRANGER_ACCESS_KEY, self.STRANGER_SECRET_KEY)
        self._subuser(admin, self.SWIFT_USER, self.SWIFT_KEY, access="full")
        self._subuser(admin, self.READER_USER, self.READER_KEY, access="read")

    def _subuser(self, admin: Sequence[str], name: str, key: str, *, access: str) -> None:
        told = (f"--subuser={name}", f"--access={access}", "--key-type=swift", f"--secret-key={key}")
        self._run("radosgw-admin", *admin, "subuser", "create", "--uid=owner", *told)

    def _user(self, admin: Sequence[str], uid: str, access: str, secret: str) -> None:
        keys = (f"--access-key={access}", f"--secret-key={secret}")
        self._run("radosgw-admin", *admin, "user", "create", f"--uid={uid}", f"--display-name={uid}", *keys)


def radosgw() -> AbstractContextManager[Radosgw]:
    """A server of one's own for the length of a block."""
    return running("rg", Radosgw)
