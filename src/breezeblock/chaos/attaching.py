"""What a client of the load does with attachments: it connects hosts to its volumes, and takes all of that back.

Connecting waits for a driver, so its answer may not come, and says then that it goes on (504). Taking back is asked for again
until it is done, as Nova does: whatever died in between, an attachment goes at last, and its volume is available again.
"""

import contextlib
import http.client
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, Protocol

from breezeblock.chaos.asked import ACCEPTED, BROKEN, UNKNOWN, now

__all__ = ["KINDS", "PATIENCE_S", "Attaching", "waits_for_storage"]

KINDS: Final = ("attach", "detach")
HOSTS: Final = ("host-1", "host-2")
# Unless the whole service stands still, asking so long is enough.
PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.3
# Storage that does not answer in time, or that refused: what was begun is known to the service, and goes on or can be deleted.
OF_STORAGE: Final = (500, 504)


class Ask(Protocol):
    """One request, written down: its outcome and the answer."""

    def __call__(self, kind: str, name: str, method: str, path: str, body: object = None) -> tuple[str, Any]: ...


def waits_for_storage(kind: str, status: int | None) -> bool:
    """Whether an answer 5xx tells of storage, and not of a mistake of the service."""
    return kind in KINDS and status in OF_STORAGE


class Attaching:
    """The attachments of one client. `read` looks at a path: the status and the answer; it raises OSError and HTTPException."""

    def __init__(self, ask: Ask, read: Callable[[str], tuple[int, Any]], random: random.Random) -> None:
        self._ask = ask
        self._read = read
        self._random = random
        self._held: dict[str, str] = {}

    @property
    def held(self) -> list[str]:
        """The ids of the volumes that may have attachments."""
        return list(self._held)

    def attach(self, volume_id: str, name: str) -> None:
        """Reserve and connect in one, or one after the other; completed sometimes, as by who has it then."""
        connector = {"host": self._random.choice(HOSTS)}
        wanted: dict[str, Any] = {
            "volume_uuid": volume_id,
            "instance_uuid": str(uuid.UUID(int=self._random.getrandbits(128))),
        }
        at_once = self._random.random() < 0.5
        if at_once:
            wanted["connector"] = connector
        outcome, answer = self._ask("attach", name, "POST", "/attachments", {"attachment": wanted})
        if outcome in (ACCEPTED, UNKNOWN, BROKEN):
            self._held[volume_id] = name
        if outcome != ACCEPTED:
            return
        path = f"/attachments/{answer['attachment']['id']}"
        if not at_once:
            outcome, _ = self._ask("attach", name, "PUT", path, {"attachment": {"connector": connector}})
        if outcome == ACCEPTED and self._random.random() < 0.7:
            self._ask("attach", name, "POST", f"{path}/action", {"os-complete": {}})

    def detach(self, volume_id: str) -> None:
        """Ask once for the end of each; nothing is left when none is found afterwards."""
        name = self._held[volume_id]
        left = self._attachments(volume_id)
        for id_ in left or ():
            self._ask("detach", name, "DELETE", f"/attachments/{id_}")
        if left == [] or self._attachments(volume_id) == []:
            del self._held[volume_id]

    def detach_all(self) -> None:
        """At the end, when nothing goes wrong any more: until none is left, or patience is over."""
        until = now() + PATIENCE_S
        while self._held and now() < until:
            for volume_id in self.held:
                self.detach(volume_id)
            time.sleep(PAUSE_S)

    def _attachments(self, volume_id: str) -> list[str] | None:
        """Their ids; None when nobody could tell."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = self._read(f"/attachments?volume_id={volume_id}")
            if status == 200:
                return [one["id"] for one in answer["attachments"]]
        return None
