"""What a service manager hears of `up`, on a real socket of the kind that systemd makes."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from breezeblock import settings
from breezeblock.commands.database import reading
from breezeblock.store import schema
from breezeblock.store.turnstile import Turnstile
from breezeblock.supervisor import proc, up
from breezeblock.supervisor.notify import Manager


class Ear:
    """A service manager's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """All lines since the last look."""
        lines: list[str] = []
        while True:
            try:
                lines += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(tmp_path / "notify")
    yield made
    made.socket.close()


def test_a_manager_hears_each_change(ear: Ear) -> None:
    """Each in one datagram, so that no state is seen without its text."""
    manager = Manager({"NOTIFY_SOCKET": str(ear.path), "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())})

    manager.starts("Waiting.", within_s=1.5)
    manager.is_ready("Serving.")
    manager.lives()
    manager.stops()

    assert manager.every_s == 2.0
    assert ear.heard() == [
        *("STATUS=Waiting.", "EXTEND_TIMEOUT_USEC=1500000"),
        *("READY=1", "STATUS=Serving."),
        "WATCHDOG=1",
        *("STOPPING=1", "STATUS=Handing back what is under way."),
    ]


def test_an_upgrade_is_told_of_for_as_long_as_it_goes_on(ear: Ear, tmp_path: Path) -> None:
    """It waits for others here, as it would for large tables: a manager that hears nothing would end it in the middle."""
    chosen = settings.load(None, {"BREEZEBLOCK_SERVICE__DATA_DIR": str(tmp_path)}).settings
    manager = Manager({"NOTIFY_SOCKET": str(ear.path), "WATCHDOG_USEC": "400000"})
    turnstile = Turnstile(str(tmp_path / "breezeblock.db"))

    def hold() -> None:
        with turnstile:
            held.set()
            time.sleep(0.5)

    held = threading.Event()
    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    up._prepare_database(chosen, manager)
    holding.join()
    turnstile.close()

    told = ["STATUS=Bringing the database to this release.", "EXTEND_TIMEOUT_USEC=90000000"]
    heard = ear.heard()
    assert heard == told * (len(heard) // 2)
    assert len(heard) // 2 >= 4
    with reading(chosen) as tx:
        assert schema.revision_of(tx) == schema.head()


def test_an_upgrade_that_is_stopped_is_not_told_of(tmp_path: Path) -> None:
    """Only who moves is waited for."""
    told: list[int] = []
    stopped = tmp_path / "stopped"

    def look() -> str:
        stopped.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        return "continued"

    def go_on() -> None:
        while not stopped.exists() or proc.state(int(stopped.read_text() or 0)) != proc.STOPPED:
            time.sleep(0.01)
        time.sleep(0.3)
        before = len(told)
        time.sleep(0.3)
        told.append(-1 if len(told) == before else -2)
        os.kill(int(stopped.read_text()), signal.SIGCONT)

    continuing = threading.Thread(target=go_on)
    continuing.start()
    said = up._in_a_child(look, lambda: told.append(1), every_s=0.05)
    continuing.join()

    assert said == "continued"
    assert -1 in told


def test_an_abstract_name_is_understood() -> None:
    """As the managers of some containers have it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0breezeblock-test-{os.getpid()}")
        Manager({"NOTIFY_SOCKET": f"@breezeblock-test-{os.getpid()}"}).is_ready("Serving.")

        assert heard.recv(4096) == b"READY=1\nSTATUS=Serving."


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "junk"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}],
    ids=["none", "no number", "off", "another's"],
)
def test_who_asked_for_no_signs_of_life_gets_none(ear: Ear, environ: dict[str, str]) -> None:
    """A limit that was meant for another process is not ours."""
    manager = Manager({"NOTIFY_SOCKET": str(ear.path), **environ})

    manager.lives()

    assert manager.limit_s is None
    assert ear.heard() == []


def test_a_manager_that_is_gone_or_busy_ends_nothing(ear: Ear, tmp_path: Path) -> None:
    """Its socket removed, or so full that it would have to be waited for."""
    Manager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).is_ready("Serving.")
    busy = Manager({"NOTIFY_SOCKET": str(ear.path)})
    for _ in range(1000):
        busy.is_ready("Serving.")

    assert 0 < len(ear.heard()) < 2000
