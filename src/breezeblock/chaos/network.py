"""A network of the harness's own: one host for the servers and the clients, and one for each node and each API process.

Network namespaces, joined by a bridge that is in a namespace, too: nothing of it can be seen from outside, no address or port
is taken from anybody, and when the last process in it has ended the kernel takes all of it away.

A host is cut off from the servers by teaching it a neighbour that does not exist: what it sends then goes to nobody, silently,
as on a link that is down. The same on the side of the servers loses what they send to it. Both need nothing but `ip`; neither
side is told anything, so open connections stay, and hang.
"""

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Network", "networked"]

CLONE_NEWNET: Final = 0x40000000
BRIDGE: Final = "bridge0"
PREFIX: Final = "10.99.0"
# Galera nodes have addresses of their own; all of them are here, where nobody but us is.
SERVERS: Final = tuple(f"{PREFIX}.{number}" for number in range(1, 5))
FIRST_HOST: Final = 11
NOBODY: Final = "02:00:00:00:00:01"
READY_S: Final = 10.0
LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Network:
    """The hosts by name. `folder` has a file for each, which is its namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holders: list[subprocess.Popen[bytes]] = []
        self._addresses: dict[str, str] = {}

    def make(self, names: Sequence[str]) -> None:
        """Raises CalledProcessError, OSError."""
        self.folder.mkdir(parents=True)
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge")
        for address in SERVERS:
            _ip("address", "add", f"{address}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            self._add(name, number)

    def _add(self, name: str, number: int) -> None:
        # Whoever is in a namespace keeps it: a process that does nothing, and dies with the thread that started it.
        holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL
        )
        self._holders.append(holder)
        namespace = Path(f"/proc/{holder.pid}/ns/net")
        _wait_for_another(namespace)
        (self.folder / name).symlink_to(namespace)
        self._addresses[name] = address = f"{PREFIX}.{FIRST_HOST + number}"
        _ip("link", "add", f"host{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("link", "set", f"host{number}", "master", BRIDGE, "up")
        for command in (
            ("address", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up"), ("link", "set", "lo", "up"),
        ):  # fmt: skip
            self._ip_on(name, *command)

    def cut(self, name: str, *, sent: bool, heard: bool) -> None:
        """From now on nothing that the host sends to the servers arrives, or nothing that they send to it, or both."""
        for address in SERVERS if sent else ():
            self._ip_on(name, "neighbour", "replace", address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
        if heard:
            there = self._addresses[name]
            _ip("neighbour", "replace", there, "lladdr", NOBODY, "dev", BRIDGE, "nud", "permanent")

    def heal(self, name: str) -> None:
        """Nothing of it is lost any more."""
        for address in SERVERS:
            self._ip_on(name, "neighbour", "flush", "to", address, "dev", "eth0", "nud", "all")
        _ip("neighbour", "flush", "to", self._addresses[name], "dev", BRIDGE, "nud", "all")

    def command(self, name: str, *command: str) -> list[str]:
        """The command that runs another on a host."""
        return ["nsenter", f"--net={self.folder / name}", *command]

    def _ip_on(self, name: str, *arguments: str) -> None:
        subprocess.run(self.command(name, "ip", *arguments), check=True, capture_output=True)

    def drop(self) -> None:
        """Nobody holds the hosts any more."""
        for holder in self._holders:
            holder.kill()
            holder.wait()


@contextlib.contextmanager
def networked(folder: Path, names: Sequence[str]) -> Iterator[Network | str]:
    """This thread, and what it starts in the block, is on a network of its own. A sentence that says why there is none."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    network = Network(folder)
    refused = ""
    try:
        _call("unshare", CLONE_NEWNET)
    except OSError as error:
        refused = str(error)
    try:
        yield refused or _made(network, names)
    finally:
        network.drop()
        if not refused:  # else we have not left, and may not come back either
            _call("setns", before, CLONE_NEWNET)
        os.close(before)


def _made(network: Network, names: Sequence[str]) -> Network | str:
    try:
        network.make(names)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(map(str, error.cmd))}: {error.stderr.decode(errors='replace').strip()}"
    except OSError as error:
        return str(error)
    return network


def _call(name: str, *arguments: int) -> None:
    if getattr(LIBC, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _wait_for_another(namespace: Path) -> None:
    """Until the process has left ours."""
    ours = Path("/proc/thread-self/ns/net").readlink()
    deadline = time.monotonic() + READY_S
    while namespace.readlink() == ours:
        if time.monotonic() > deadline:
            raise OSError(f"{namespace} is still ours after {READY_S:.0f} s")
        time.sleep(0.005)
