"""What a service manager hears of `up`, on a real socket of the kind that systemd makes."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

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
