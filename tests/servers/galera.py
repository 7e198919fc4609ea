"""A private MariaDB Galera cluster: nodes that all take writes, each on a loopback address of its own."""

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import pymysql
from tests.servers.database import run_as, version_of
from tests.servers.home import Home, wait_until
from tests.servers.mariadb import FAST, MariaDB, copy_data
from tests.servers.packages import find
from tests.servers.ports import free_ports, loopback_addresses
from tests.servers.seeds import copy_seed
from tests.servers.server import Address, running

__all__ = ["Galera", "GaleraNode", "galera"]

_RECIPE: Final = "a node that was bootstrapped, and stopped"
_STEP_S: Final = 40.0
_STATE: Final = "grastate.dat"
_VIEW: Final = "gvwstate.dat"
_GALERA: Final = ("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-sst-method=rsync")
# A node that is silent for two seconds is suspected instead of for five: tests of it wait less.
_TIMES: Final = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT5S"


class _NotYet(Exception):
    """The cluster is not as it should be. Says how it is."""


@dataclass(frozen=True)
class _Ports:
    """The same on each address."""

    sql: int
    group: int
    transfer: int
    dump: int


class GaleraNode(MariaDB):
    """One of them."""

    READY_S: ClassVar = 90.0
    NOT_READY: ClassVar[tuple[type[Exception], ...]] = (pymysql.err.MySQLError, _NotYet)

    def __init__(self, home: Home, name: str, *, host: str, members: tuple[str, ...], ports: _Ports) -> None:
        self._members = members
        self._ports = ports
        self._provider = find("/usr/lib/galera/libgalera_smm.so", package="galera-4")
        find("rsync", package="rsync")
        super().__init__(home, name, host=host, port=ports.sql)

    def copy_fresh_data(self) -> None:
        """That of a node that has been in a cluster: it knows its place in the history, which all nodes share."""
        recipe = f"{version_of(self._program)} {_RECIPE} {FAST}"
        copy_seed("galera", recipe=recipe, make=self._make_seed, to=self.data, user=self.user)

    def _make_seed(self, folder: Path) -> None:
        with Home("ga-seed") as home:
            (host,) = loopback_addresses(1)
            ports = _Ports(*free_ports(4, addresses=(host,)))
            node = _Founder(home, "seed", host=host, members=(host,), ports=ports)
            node.launch("--wsrep-new-cluster")
            node.wait_ready()
            node.stop()
            (node.data / "galera.cache").unlink()
            (node.data / _VIEW).unlink(missing_ok=True)
            subprocess.run(["cp", "-a", f"{node.data}/.", str(folder)], check=True)

    def options(self) -> tuple[str, ...]:
        """What makes it a member."""
        group, host = self._ports.group, self.host
        listen = (
            f"base_port={group};gmcast.listen_addr=tcp://{host}:{group};ist.recv_addr={host}:{self._ports.transfer}"
        )
        return (
            *_GALERA,
            f"--wsrep-provider={self._provider}",
            "--wsrep-cluster-name=breezeblock",
            f"--wsrep-node-address={host}",
            f"--wsrep-sst-receive-address={host}:{self._ports.dump}",
            f"--wsrep-cluster-address=gcomm://{','.join(f'{member}:{group}' for member in self._members)}",
            f"--wsrep-provider-options={listen};gcache.size=32M;{_TIMES}",
        )

    def start(self) -> None:
        """Join again; what was missed comes from the others. After all have died, the last to start makes them all ready."""
        self.launch_again()
        self.wait_ready()

    def launch_again(self) -> None:
        """Start without waiting, from where the storage engine says that it stopped, as Debian's service does."""
        recover = (self._program, "--no-defaults", f"--datadir={self.data}", *FAST, *self.options(), "--wsrep-recover")
        said = run_as(self.user, *recover, cwd=self.folder).stderr
        found = re.search(r"Recovered position: (\S+)", said)
        assert found is not None, f"no position in {said}"
        self.launch(f"--wsrep-start-position={found[1]}")

    def launch_first(self, numbers: int) -> None:
        """As one of `numbers` nodes that were together and remember it: they go on, with nothing to transfer.

        Founding with one node and having the others join takes four times as long.
        """
        uuids = [f"0000000{number}-5eed-11f0-8000-000000000000" for number in range(1, numbers + 1)]
        mine = uuids[self._members.index(self.host)]
        members = "".join(f"member: {uuid} 0\n" for uuid in uuids)
        view = self.data / _VIEW
        view.write_text(
            f"my_uuid: {mine}\n#vwbeg\nview_id: 3 {uuids[0]} {numbers}\nbootstrap: 0\n{members}#vwend\n",
            encoding="ascii",
        )
        state = (self.data / _STATE).read_text(encoding="ascii")
        position = {key: re.search(rf"^{key}:\s*(\S+)", state, re.MULTILINE) for key in ("uuid", "seqno")}
        assert all(position.values()), f"no position in {state}"
        if self.user is not None:
            shutil.chown(view, self.user, self.user)
        uuid, seqno = (found[1] for found in position.values() if found is not None)
        self.launch(f"--wsrep-start-position={uuid}:{seqno}")

    def look(self) -> None:
        """Whether it has all that the cluster has and takes writes."""
        self.expect(wsrep_ready="ON", wsrep_cluster_status="Primary", wsrep_local_state_comment="Synced")

    def status(self, *names: str) -> dict[str, str]:
        """Some of its status variables; a node outside the primary component tells them as well."""
        listed = ", ".join(f"'{name}'" for name in names)
        return dict(self.ask(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({listed})"))

    def expect(self, **wanted: str) -> None:
        """Raises _NotYet."""
        found = self.status(*wanted)
        if found != wanted:
            raise _NotYet(f"{self.host}: {found}")

    def isolate(self, on: bool) -> None:
        """Cut it off from the other nodes, while its clients still reach it; or let it back."""
        self.ask(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(on)}'")


class _Founder(GaleraNode):
    """The node whose data all others begin with."""

    def copy_fresh_data(self) -> None:
        copy_data(self._program, to=self.data, user=self.user)


class Galera:
    """The cluster. `nodes` have the verbs of a server."""

    def __init__(self, home: Home, *, size: int = 3, hosts: tuple[str, ...] = ()) -> None:
        hosts = hosts or loopback_addresses(size)
        ports = _Ports(*free_ports(4, addresses=hosts))
        self.nodes: Final = tuple(
            GaleraNode(home, f"n{number}", host=host, members=hosts, ports=ports)
            for number, host in enumerate(hosts, start=1)
        )

    def urls(self, database: str) -> tuple[str, ...]:
        """One for each node."""
        return tuple(node.url(database) for node in self.nodes)

    def url(self, database: str, *, via: Address | None = None) -> str:
        """Of the first node, or of what stands in front of all."""
        return self.nodes[0].url(database, via=via)

    def create_database(self, name: str) -> None:
        """Statements about tables and databases happen on all nodes at once."""
        self.nodes[0].create_database(name)

    def drop_database(self, name: str) -> None:
        """Whoever is connected to it, on any node, is sent away."""
        for node in self.nodes:
            node.kick(name)
        self.nodes[0].drop_database(name)

    def start(self) -> None:
        """For the first time, all at once."""
        for node in self.nodes:
            node.launch_first(len(self.nodes))
        self._each(lambda node: node.wait_ready())
        self._settle(self.nodes, size=len(self.nodes))

    def start_again(self) -> None:
        """After all have stopped or died: they know each other, and go on by themselves."""
        self._each(lambda node: node.launch_again())
        self._each(lambda node: node.wait_ready())
        self._settle(self.nodes, size=len(self.nodes))

    def leave_primary(self, index: int) -> None:
        """A node loses the others: it runs, and answers everything with error 1047; the others go on without it."""
        alone = self.nodes[index]
        alone.isolate(True)
        self._wait(lambda: alone.expect(wsrep_cluster_status="non-Primary", wsrep_ready="OFF"))
        rest = tuple(node for node in self.nodes if node is not alone)
        self._settle(rest, size=len(rest))

    def heal(self) -> None:
        """Whatever was isolated or paused comes back. Those that were killed stay so: `start` them."""
        for node in self.nodes:
            node.resume()
        running = tuple(node for node in self.nodes if node.daemon.is_running)
        for node in running:
            node.isolate(False)
        for node in running:
            node.wait_ready()
        self._settle(running, size=len(running))

    def kill(self) -> None:
        """All nodes, as by a power cut."""
        self._each(lambda node: node.kill())

    def stop(self) -> None:
        """All nodes, one after the other: the last one knows everything."""
        self._each(lambda node: node.stop())

    def _each(self, verb: Callable[[GaleraNode], None]) -> None:
        for node in self.nodes:
            verb(node)

    def _settle(self, nodes: tuple[GaleraNode, ...], *, size: int) -> None:
        for node in nodes:
            self._wait(lambda node=node: node.expect(wsrep_cluster_size=str(size), wsrep_cluster_status="Primary"))  # type: ignore[misc]

    def _wait(self, ask: Callable[[], None]) -> None:
        wait_until(ask, seconds=_STEP_S, unless=GaleraNode.NOT_READY)


def galera(*, size: int = 3) -> AbstractContextManager[Galera]:
    """A cluster of one's own for the length of a block."""
    return running("ga", lambda home: Galera(home, size=size))
