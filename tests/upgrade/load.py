"""Clients that go on while the services change under them, and what must be true of all that they asked for."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.service import Answer, Service

__all__ = ["Client", "Load"]

LOOK_EVERY_S: Final = 0.05
ENDS_WITHIN_S: Final = 60.0


class Stuck(AssertionError):
    """What was accepted does not end."""


@dataclass
class Load:
    """Which APIs the clients use at the moment, and what they were answered."""

    services: list[Service]
    stop: threading.Event = field(default_factory=threading.Event)
    accepted: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    rounds: int = 0


@dataclass
class Client:
    """One project, whose resources only this thread changes: nothing that it asks for may be refused."""

    load: Load
    project: str
    chance: random.Random
    kept: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Rounds of everything that this release and the one before can do, until told to stop. Keeps one volume of each."""
        try:
            while not self.load.stop.is_set():
                self._round()
                self.load.rounds += 1
        except Exception as error:
            self.load.odd.append(f"{self.project}: {type(error).__name__}: {error}")

    def _round(self) -> None:
        volume = self._make("volume", {"size": 1})
        self._act("volumes", volume, {"os-extend": {"new_size": 2}}, "available")
        snapshot = self._make("snapshot", {"volume_id": volume})
        clone = self._make("volume", {"size": 3, "snapshot_id": snapshot})
        self._act("volumes", volume, {"revert": {"snapshot_id": snapshot}}, "available")
        self._delete("snapshots", snapshot)
        self._delete("volumes", self.chance.choice([volume, clone]))

    def _make(self, noun: str, wanted: dict[str, Any]) -> str:
        answer = self._ask("POST", f"/{noun}s", {noun: wanted})
        made = str(answer.body[noun]["id"])
        self._wait(f"{noun}s", made, "available")
        return made

    def _act(self, nouns: str, which: str, action: dict[str, Any], status: str) -> None:
        self._ask("POST", f"/{nouns}/{which}/action", action)
        self._wait(nouns, which, status)

    def _delete(self, nouns: str, which: str) -> None:
        self._ask("DELETE", f"/{nouns}/{which}")
        self._wait(nouns, which, "gone")

    def _wait(self, nouns: str, which: str, status: str) -> None:
        until_s = time.monotonic() + ENDS_WITHIN_S
        while (now := self._status(nouns, which)) != status:
            if now.startswith("error") or time.monotonic() > until_s:
                raise Stuck(f"{nouns} {which} is {now} and not {status}")
            time.sleep(LOOK_EVERY_S)

    def _status(self, nouns: str, which: str) -> str:
        answer = self._send("GET", f"/{nouns}/{which}")
        return "gone" if answer.status == 404 else str(answer.body[nouns.removesuffix("s")]["status"])

    def _ask(self, method: str, path: str, body: object = None) -> Answer:
        answer = self._send(method, path, body)
        if answer.status != 202:
            raise AssertionError(f"{method} {path} was answered {answer.status}: {answer.body}")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self.load.accepted.append(headers["x-openstack-request-id"])
        return answer

    def _send(self, method: str, path: str, body: object = None) -> Answer:
        service = self.chance.choice(self.load.services)
        headers = {"OpenStack-API-Version": "volume 3.40"}
        answer = service.request(method, f"/v3/{self.project}{path}", body, headers=headers)
        self.load.statuses[answer.status] += 1
        return answer
