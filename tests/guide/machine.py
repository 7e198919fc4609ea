"""Machines that are namespaces of this one: each with a network, a disk, processes, a name, boots, and systemd as first of all.

What is installed here is installed on all of them. What they write is theirs: their files lie over ours, in memory, and
nothing of this machine's own is touched. Pulling the power kills the first process, and the kernel all others with it, network
and mounts included; the disk stays.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.home import Daemon, Home

__all__ = ["HOME", "CannotBoot", "Fresh", "Machine", "Switch", "finished", "remove_remains", "switch"]

HERE: Final = Path(__file__).parent
NETWORK: Final = "10.0.0"
BRIDGE: Final = "lan0"
# Not as those of nodes are called (`env.cgroups`): whoever tidies up after them leaves these alone.
GROUP: Final = "guide-"
BOOT_S: Final = 60.0
# Of root, on all of them.
HOME: Final = pwd.getpwuid(0).pw_dir
PIECE_S: Final = 180.0
# What was said to a shell stays in it: variables, folder, mask.
SHELL: Final = """set -a
cd; umask 022
if [ -e /run/shell ]; then . /run/shell; fi
{text}
{{ export -p; umask -p; printf 'cd %q' "$PWD"; }} > /run/shell.$$
mv /run/shell.$$ /run/shell
"""
CLONE_NEWNET: Final = 0x40000000
LIBC: Final = ctypes.CDLL(None, use_errno=True)
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotBoot(Exception):
    """This machine cannot make others. Says why."""


class Switch:
    """A network that this thread is on, and what it starts."""

    def plug(self, port: str, pid: int) -> None:
        """A cable to the network of a process, who finds it as eth0."""
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        ip("link", "set", port, "master", BRIDGE, "up")

    def unplug(self, port: str) -> None:
        """Neither side is told anything."""
        ip("link", "set", port, "nomaster")


@contextmanager
def switch() -> Iterator[Switch]:
    """Until the end of the block. Raises CannotBoot."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if LIBC.unshare(CLONE_NEWNET):
        os.close(before)
        raise CannotBoot(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    try:
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield Switch()
    finally:
        if LIBC.setns(before, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


def ip(*arguments: str) -> None:
    """Raises CannotBoot."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBoot(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass(frozen=True)
class Fresh:
    """What all machines are made of."""

    folder: Path
    """See `boot.sh`."""
    outside: Path
    library: Path


class Machine:
    """One of them."""

    def __init__(self, home: Home, network: Switch, fresh: Fresh, *, name: str, number: int) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self._port = f"port{number}"
        self._boots = 0
        self._network = network
        self._fresh = fresh
        self._home = home
        self._disks = 0
        self._folder = self._new_disk()
        self._daemon = Daemon(home, f"{name}-power")
        self._group = _groups() / f"{GROUP}{os.getpid()}-{name}"
        self.pid = 0
        """Of its first process."""

    def _new_disk(self) -> Path:
        """With its own mainboard, which is drawn at the first boot."""
        folder = self._home.folder(f"{self.name}-{self._disks}", user=None)
        for part in ("upper", "work", "root"):
            (folder / part).mkdir()
        self._disks += 1
        return folder

    def replace(self) -> None:
        """By one that is as bare as this one was, at the same place of the network; both are off."""
        assert not self.is_on
        self._folder = self._new_disk()

    @property
    def is_on(self) -> bool:
        return self._daemon.is_running

    def switch_on(self) -> None:
        """When it returns all that is enabled is being started. Raises CannotBoot."""
        self._group.mkdir(exist_ok=True)
        environ = {
            "FOLDER": str(self._folder),
            "FRESH": str(self._fresh.folder),
            "OUTSIDE": str(self._fresh.outside),
            "LIBRARY": str(self._fresh.library),
            "PROGRAMS": str(HERE / "programs"),
            "NAME": self.name,
            "ADDRESS": self.address,
        }
        own = "--net --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private"
        into = f'echo $$ > {self._group}/cgroup.procs && exec unshare {own} bash "$0"'
        self._daemon.start("sh", "-c", into, str(HERE / "boot.sh"), environ=environ)
        self.pid = self._first()
        self._boots += 1  # the kernel may still be at taking away the last one's cable
        self._network.plug(self._cable, self.pid)
        self._wait("that its manager answers", "systemctl show --property=Version")

    @property
    def _cable(self) -> str:
        return f"{self._port}x{self._boots}"

    def unplug(self) -> None:
        """From its network, which is all that it has but its controller."""
        self._network.unplug(self._cable)

    def switch_off(self) -> None:
        """At once, as by pulling its plug."""
        self._daemon.kill()

    def take_down(self) -> None:
        """At the very end."""
        if self.is_on:
            self.switch_off()
        _remove(self._group)

    def root(self, path: str) -> Path:
        """A file of it, as we see it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def start(self, text: str) -> "subprocess.Popen[str]":
        """Begin to do what somebody types into the one shell that they have there since it was switched on."""
        command = [
            "nsenter",
            "--target",
            str(self.pid),
            "--all",
            "env",
            "-i",
            f"PATH={PATH}",
            f"HOME={HOME}",
            "LANG=C.UTF-8",
        ]
        script = SHELL.format(text=text)
        return subprocess.Popen(
            [*command, "bash", "-euo", "pipefail", "-c", script],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, text: str) -> str:
        """What is seen then; it must succeed."""
        return self.finish(self.start(text), text)

    def finish(self, process: "subprocess.Popen[str]", text: str) -> str:
        """The same of what has begun. What the machine's journal says of a failure is told with it."""
        try:
            return finished(process, f"{self.name}: {text}")
        except AssertionError as error:
            said, _ = self.start("journalctl --no-pager -o short-monotonic -n 60").communicate(timeout=PIECE_S)
            raise AssertionError(f"{error}\n{said}") from None

    def _first(self) -> int:
        """The pid of the first process, which is 1 inside."""
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline and self._daemon.is_running:
            for pid in self._daemon.pids():
                if _pids_of(pid)[1:] == ["1"]:
                    return pid
            time.sleep(0.01)
        raise CannotBoot(f"{self.name} has no first process:\n{self._daemon.end_of_log()}")

    def _wait(self, what: str, text: str) -> None:
        deadline = time.monotonic() + BOOT_S
        while True:
            process = self.start(text)
            said, _ = process.communicate(timeout=PIECE_S)
            if process.returncode == 0:
                return
            if time.monotonic() > deadline or not self.is_on:
                raise CannotBoot(f"{self.name}: waited {BOOT_S:.0f} s for {what}: {said}\n{self._daemon.end_of_log()}")
            time.sleep(0.05)


def _pids_of(pid: int) -> list[str]:
    """What a process is called, from outside to inside; nothing when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[1:]
    return []


def finished(process: "subprocess.Popen[str]", what: str, *, seconds: float = PIECE_S) -> str:
    """What a piece printed; it must succeed."""
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
        raise AssertionError(f"not done after {seconds:.0f} s: {what}\n{said}") from None
    assert process.returncode == 0, f"status {process.returncode}: {what}\n{said}"
    return said


def remove_remains() -> None:
    """The groups of tests that were killed; of one that runs the kernel keeps them."""
    for group in _groups().glob(f"{GROUP}*"):
        _remove(group)


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # somebody is in it
            Path(folder).rmdir()


def _groups() -> Path:
    """Where control groups of version 2 are made. Raises CannotBoot."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    raise CannotBoot("there are no control groups of version 2")
