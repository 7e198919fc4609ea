"""What is outside of the machines: their management controllers, and the way of a file from one to another.

Programs of the machines ask by a socket that each of them finds at /outside/door: a line of JSON, and a line back.
"""

import json
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.guide.machine import HOME, Machine
from tests.guide.page import COMPUTER

__all__ = ["Outside"]

USER: Final = "fence"


class Outside:
    """Answers until it is closed. Controllers are at the addresses of the machines plus ten."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.machines: dict[str, Machine] = {}
        self.asked: list[tuple[str, str]] = []
        """What controllers did: the action, and the machine."""
        self._password = password
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / "door"))
        (folder / "door").chmod(0o666)
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        calls: Mapping[str, Callable[[dict[str, Any]], None]] = {"power": self._power, "copy": self._copy}
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return  # it is closed
            with line, line.makefile("rw") as stream:
                asked = json.loads(stream.readline())
                answer = {"status": 0, "said": ""}
                try:
                    calls[asked["call"]](asked)
                except (Refused, OSError) as refused:
                    answer = {"status": 1, "said": str(refused)}
                stream.write(json.dumps(answer) + "\n")
                stream.flush()

    def _power(self, asked: dict[str, Any]) -> None:
        """What a controller is asked. Raises Refused."""
        told = asked["options"]
        if (told.get("username"), told.get("password"), told.get("lanplus")) != (USER, self._password, "1"):
            raise Refused(f"no session for the user {told.get('username')}")
        machine = next((one for one in self.machines.values() if _controller(one) == told.get("ip")), None)
        if machine is None:
            raise Refused(f"nothing answers at {told.get('ip')}")
        if told["action"] == "off" and machine.is_on:
            machine.switch_off()
        elif told["action"] not in ("off", "status", "monitor"):
            raise Refused(f"this controller does not know {told['action']}")
        self.asked.append((told["action"], machine.name))

    def _copy(self, asked: dict[str, Any]) -> None:
        """`scp` as root. Raises Refused, OSError."""
        target = self._place(asked["from"], asked["target"])
        for path in asked["sources"]:
            source = self._place(asked["from"], path)
            file = target / source.name if target.is_dir() else target
            # Of a file that is there already, owner and mode stay.
            (shutil.copyfile if file.exists() else shutil.copy)(source, file)

    def _place(self, asker: str, path: str) -> Path:
        """A path on the asker's machine, or HOST:PATH, which begins at the home of its root."""
        host, colon, rest = path.partition(":")
        if not colon:
            return Path(path) if asker == COMPUTER else self.machines[asker].root(path)
        address = host.rpartition("@")[2]
        machine = next((one for one in self.machines.values() if one.address == address and one.is_on), None)
        if machine is None:
            raise Refused(f"ssh: connect to host {address} port 22: No route to host")
        return machine.root(str(Path(HOME) / rest))


class Refused(Exception):
    """What the other side says."""


def _controller(machine: Machine) -> str:
    network, _, number = machine.address.rpartition(".")
    return f"{network}.{int(number) + 10}"
