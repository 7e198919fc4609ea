"""Nova's own events: what it must be told when a volume that it uses has changed under an instance.

Which events those are is in the table; to which instances they go is in the attachments that the event was written with. Events
about volumes that no instance has are taken without a word.

Words go one after the other, all within a bound below the sender's, and how far they got is said: a try that ran out of time
is gone on with, not begun again. Only a word that Nova has taken without our hearing so is told twice, which Nova takes as it
took the first: it looks at the volume again.
"""

import asyncio
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import requests
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
# How much of the sender's patience is ours to use: whoever is cut off in the middle cannot say how far it got.
_SHARE: Final = 0.8


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


class _Bounded(requests.Session):
    """Requests that all end by one instant, those among them that keystoneauth makes by itself."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self.until = 0.0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """See `requests.Session.send`. Raises Timeout at once when there is no time left."""
        left_s = self.until - self._now()
        if left_s <= 0:
            raise requests.exceptions.Timeout("no time is left")
        # To connect may take one half of it, the answer the other.
        return super().send(request, **(kwargs | {"timeout": left_s / 2}))


class NovaReceiver:
    """Implements `Receiver`, through keystoneauth1, which knows every way to become somebody.

    `credentials_file` is TOML: `auth_type` and what that plugin is to be told. It is read anew after each failure. `now` is a
    clock that never goes back, in seconds.
    """

    def __init__(
        self,
        *,
        credentials_file: Path,
        url: str,
        region: str,
        interface: str,
        ca_file: Path | None,
        timeout_s: float,
        now: Callable[[], float],
    ) -> None:
        self._credentials_file = credentials_file
        self._url = url
        self._region = region
        self._interface = interface
        self._ca_file = ca_file
        self._limit_s = timeout_s * _SHARE
        self._now = now
        self._bounded = _Bounded(now)
        self._session: session.Session | None = None
        self._posting: asyncio.Future[None] | None = None

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`."""
        if not any(server_events(event) for event in events):
            return
        if self._posting is not None and not self._posting.done():
            # The caller has given up a try whose thread is still at it: what that tells is not told beside it.
            await asyncio.wait([self._posting])
        stop = threading.Event()
        self._posting = asyncio.get_running_loop().run_in_executor(None, self._post, events, stop)
        self._posting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.shield(self._posting)
        finally:
            stop.set()

    async def close(self) -> None:
        """See `Receiver.close`."""
        self._session = None

    # --- on a thread ------------------------------------------------------------------------------------------------

    def _post(self, events: Sequence[Event], stop: threading.Event) -> None:
        self._bounded.until = self._now() + self._limit_s
        for number, event in enumerate(events):
            for one in server_events(event):
                if stop.is_set():
                    return
                try:
                    self._tell(one)
                except NotTaken as error:
                    raise NotTaken(str(error), taken=number) from error

    def _tell(self, one: ServerEvent) -> None:
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
            self._session = session.Session(auth=plugin, session=self._bounded, verify=verify)
        return self._session

    def _read(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._credentials_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotTaken(f"Its credentials_file cannot be read: {error.strerror}.") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise NotTaken("Its credentials_file is not TOML.") from error
