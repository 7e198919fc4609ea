"""Many requests at the same instant, each on a connection of its own that is already open."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.race.model import Answered
from tests.service import Service, eventually

from breezeblock.chaos.http import Http

THREADS: Final = 32
PROJECT: Final = "race"
UNLIMITED: Final = {
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__SNAPSHOTS": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
}


@dataclass(frozen=True)
class Ask:
    """One request below the project's URL."""

    kind: str
    volume_id: str
    method: str
    path: str
    body: Any = None


@dataclass(frozen=True)
class Got:
    """And its answer."""

    ask: Ask
    status: int
    message: str
    request_id: str

    @property
    def accepted(self) -> bool:
        return self.status < 300

    @property
    def answered(self) -> Answered:
        return Answered(self.ask.kind, self.accepted, self.message)


def on(volume_id: str, kind: str, *, snapshot_id: str | None = None) -> Ask:
    """A request of this kind on a volume of 1 GiB and of the default type."""
    actions = {
        "extend": ("os-extend", {"new_size": 2}),
        "retype": ("os-retype", {"new_type": "gold", "migration_policy": "never"}),
        "revert": ("revert", {"snapshot_id": snapshot_id}),
        "reset": ("os-reset_status", {"status": "available"}),
        "force_delete": ("os-force_delete", None),
    }
    at = f"/volumes/{volume_id}"
    if kind in actions:
        name, body = actions[kind]
        return Ask(kind, volume_id, "POST", f"{at}/action", {name: body})
    if kind == "snapshot":
        return Ask(kind, volume_id, "POST", "/snapshots", {"snapshot": {"volume_id": volume_id}})
    if kind == "clone":
        return Ask(kind, volume_id, "POST", "/volumes", {"volume": {"source_volid": volume_id, "size": 1}})
    return Ask(kind, volume_id, "DELETE", f"{at}?cascade=true" if kind == "cascade" else at)


class Crowd:
    """As many threads as requests come at once. Each has its connection; all wait for the same moment."""

    def __init__(self, service: Service) -> None:
        self._connections = [Http(service.endpoint) for _ in range(THREADS)]
        for connection in self._connections:
            connection.send("GET", "/healthcheck")

    def ask(self, asks: Sequence[Ask]) -> list[Got]:
        """All of them at one instant; their answers in the same order."""
        assert len(asks) <= THREADS
        gate = threading.Barrier(len(asks))
        got: list[Got | BaseException] = [AssertionError("no answer")] * len(asks)

        def one(index: int) -> None:
            try:
                gate.wait(10)
                got[index] = self._send(self._connections[index], asks[index])
            except BaseException as error:
                got[index] = error

        threads = [threading.Thread(target=one, args=(index,)) for index in range(len(asks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        answers = [one for one in got if isinstance(one, Got)]
        assert len(answers) == len(asks), [one for one in got if not isinstance(one, Got)]
        return answers

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    @staticmethod
    def _send(connection: Http, ask: Ask) -> Got:
        status, answer, headers = connection.send(ask.method, f"/v3/{PROJECT}{ask.path}", ask.body)
        message = ""
        if status >= 300:
            (fault,) = answer.values()
            message = fault["message"]
        return Got(ask, status, message, headers["x-openstack-request-id"])


def given_volumes(service: Service, crowd: Crowd, count: int, *, size_gib: int = 1) -> list[str]:
    """Volumes that are at rest."""
    wanted = {"volume": {"size": size_gib}}
    for start in range(0, count, THREADS):
        asks = [Ask("create", "", "POST", "/volumes", wanted) for _ in range(min(THREADS, count - start))]
        assert {one.status for one in crowd.ask(asks)} == {202}
    return at_rest(service, "volumes", count)


def given_snapshots(service: Service, crowd: Crowd, volumes: Sequence[str]) -> dict[str, str]:
    """One of each of these volumes, at rest: by volume."""
    asks = [on(volume, "snapshot") for volume in volumes]
    for start in range(0, len(asks), THREADS):
        assert {one.status for one in crowd.ask(asks[start : start + THREADS])} == {202}
    at_rest(service, "snapshots", len(volumes))
    found = service.request("GET", f"/v3/{PROJECT}/snapshots").body["snapshots"]
    return {one["volume_id"]: one["id"] for one in found}


def at_rest(service: Service, collection: str, count: int) -> list[str]:
    """The ids of all that there are, once they are available."""

    def ids() -> list[str]:
        found = service.request("GET", f"/v3/{PROJECT}/{collection}/detail").body[collection]
        return [one["id"] for one in found if one["status"] == "available"]

    return eventually(lambda: found if len(found := ids()) == count else [], within_s=60)


CrowdOf = Callable[[Service], Crowd]
