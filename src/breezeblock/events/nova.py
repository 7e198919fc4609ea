"""Nova's own events: what it must be told when a volume that it uses has changed under an instance.

Which events those are is in the table; to which instances they go is in the attachments that the event was written with. Events
about volumes that no instance has are taken without a word.
"""

import asyncio
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from keystoneauth1 import exceptions, loading, session

from breezeblock.events.contract import NotTaken
from breezeblock.model.events import ENDED, Event

__all__ = ["NovaReceiver", "ServerEvent", "server_events"]

log = structlog.get_logger(__name__)

# By kind of an operation that is done: what Nova calls it, and the microversion in which it knows that.
TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "extend_volume": ("volume-extended", "2.51"),
    "reimage_volume": ("volume-reimaged", "2.93"),
}
_PATH: Final = "/os-server-external-events"
# Nova has understood, and has no use for it: no such instance, or not in a state to be told.
_NO_USE: Final = (400, 404, 422)


class ServerEvent(NamedTuple):
    """One word to Nova about one instance."""

    name: str
    server_uuid: str
    tag: str
    microversion: str

    def body(self) -> dict[str, str]:
        """As it is posted."""
        return {"name": self.name, "server_uuid": self.server_uuid, "tag": self.tag}


def server_events(event: Event) -> list[ServerEvent]:
    """What Nova is to be told of an event: one word for each instance that has the volume."""
    is_done = event.what == ENDED and event.outcome == "done"
    if not is_done or event.resource_type != "volume" or event.kind not in TOLD:
        return []
    name, microversion = TOLD[event.kind]
    ids = sorted({one["instance_uuid"] for one in event.attachments if one.get("instance_uuid")})
    return [ServerEvent(name, id_, event.resource_id, microversion) for id_ in ids]


class NovaReceiver:
    """Implements `Receiver`, through keystoneauth1, which knows every way to become somebody.

    `credentials_file` is TOML: `auth_type` and what that plugin is to be told. It is read anew after each failure.
    """

    def __init__(
        self, *, credentials_file: Path, url: str, region: str, interface: str, ca_file: Path | None, timeout_s: float
    ) -> None:
        self._credentials_file = credentials_file
        self._url = url
        self._region = region
        self._interface = interface
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._session: session.Session | None = None

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`."""
        told = [one for event in events for one in server_events(event)]
        if told:
            await asyncio.to_thread(self._post, told)

    async def close(self) -> None:
        """See `Receiver.close`."""
        self._session = None

    # --- on a thread ------------------------------------------------------------------------------------------------

    def _post(self, told: Sequence[ServerEvent]) -> None:
        for one in told:
            try:
                answer = self._log_in().post(
                    _PATH,
                    json={"events": [one.body()]},
                    microversion=one.microversion,
                    raise_exc=False,
                    endpoint_override=self._url or None,
                    endpoint_filter={
                        "service_type": "compute",
                        "region_name": self._region or None,
                        "interface": self._interface,
                    },
                )
            except exceptions.ClientException as error:
                self._session = None
                raise NotTaken(f"Nova cannot be told: {type(error).__name__}.") from error
            self._judge(one, int(answer.status_code))

    def _judge(self, one: ServerEvent, status: int) -> None:
        fields = {"name": one.name, "instance_id": one.server_uuid, "volume_id": one.tag, "status": status}
        if status in _NO_USE:
            log.warning("nova.has_no_use", **fields)
        elif not 200 <= status < 300:
            self._session = None
            raise NotTaken(f"Nova answered {status} to {one.name}.")
        else:
            log.info("nova.told", **fields)

    def _log_in(self) -> session.Session:
        if self._session is None:
            given = self._read()
            kind = given.pop("auth_type", "password")
            try:
                plugin: Any = loading.get_plugin_loader(kind).load_from_options(**given)
            except (exceptions.ClientException, TypeError) as error:
                raise NotTaken(f"Its credentials_file cannot be used: {type(error).__name__}.") from error
            verify: bool | str = True if self._ca_file is None else str(self._ca_file)
            self._session = session.Session(auth=plugin, verify=verify, timeout=self._timeout_s)
        return self._session

    def _read(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._credentials_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotTaken(f"Its credentials_file cannot be read: {error.strerror}.") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise NotTaken("Its credentials_file is not TOML.") from error
