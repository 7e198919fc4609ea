"""What clients of a simulation ask for attachments, in the new way and in the older one. Everything else is in `asks.py`."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, select

from breezeblock.env.contract import Env
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.resources import attachments, old_attachments
from breezeblock.resources.accepted import Accepted
from breezeblock.resources.attachments import Change, NewAttachment
from breezeblock.store import tables
from breezeblock.testing.aims import Aims
from breezeblock.testing.call import Call

__all__ = ["CALLS", "AttachAsks"]

CALLS: Final = {
    "attach": 4.0,
    "connect": 5.0,
    "complete": 4.0,
    "detach": 6.0,
    "old_word": 1.5,
    "old_attach": 1.0,
    "old_connection": 2.0,
    "old_detach": 2.0,
}
# Few, so that they meet.
SERVERS: Final = ("server-1", "server-2")
HOSTS: Final = ("host-1", "host-2")


class AttachAsks:
    """Draws requests. `owned` tells whose a new resource is: its volume's."""

    def __init__(self, random: Random, aims: Aims, owned: Callable[[str, str], None]) -> None:
        self._random = random
        self._aims = aims
        self._owned = owned
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "attach": self._attach,
            "connect": self._connect,
            "complete": self._complete,
            "detach": self._detach,
            "old_word": self._old_word,
            "old_attach": self._old_attach,
            "old_connection": self._old_connection,
            "old_detach": self._old_detach,
        }

    def _connector(self) -> dict[str, Any]:
        return {"host": self._random.choice(HOSTS)}

    def _attach(self, env: Env) -> Call | None:
        """One half of them connected at once."""
        found = self._aims.one("usable")
        if found is None:
            return None
        id_ = env.ids.uuid()
        self._owned(id_, found[0])
        wanted = NewAttachment(
            id=AttachmentId(id_),
            volume_id=VolumeId(found[0]),
            instance_uuid=self._random.choice(SERVERS),
            connector=self._connector() if self._random.random() < 0.5 else None,
        )
        return Call("attach", _begin_create, id_, {"wanted": wanted}, table="attachments")

    def _connect(self, env: Env) -> Call | None:
        return self._on_one("connect", _CONNECTABLE, _begin_update, {"connector": self._connector()})

    def _complete(self, env: Env) -> Call | None:
        return self._on_one("complete", _COMPLETABLE, _complete, {})

    def _detach(self, env: Env) -> Call | None:
        return self._on_one("detach", _ANY, _begin_delete, {})

    def _on_one(self, kind: str, query: str, f: Callable[..., Any], said: Mapping[str, Any]) -> Call | None:
        found = self._aims.all(query if self._aims.is_aimed else _ANY)
        if not found:
            return None
        id_, volume = self._random.choice(found)
        self._owned(id_, volume)
        return Call(kind, f, id_, {"attachment_id": AttachmentId(id_), **said}, table="attachments")

    def _old_word(self, env: Env) -> Call | None:
        """What changes the volume's status alone."""
        words = (_reserve, _unreserve, _begin_detaching, _roll_detaching)
        f = self._random.choice(words)
        return self._on_volume("old_word", _WORDED if f is not _reserve else _VOLUMES, f, {})

    def _old_attach(self, env: Env) -> Call | None:
        said = {
            "attachment_id": AttachmentId(env.ids.uuid()),
            "instance_uuid": self._random.choice(SERVERS),
            "host_name": None,
            "mountpoint": "/dev/vdb",
            "mode": "rw",
        }
        return self._on_volume("old_attach", _VOLUMES, _old_attach, said)

    def _old_connection(self, env: Env) -> Call | None:
        """Made, or taken back; of one host, or of all."""
        if self._random.random() < 0.5:
            said = {"attachment_id": AttachmentId(env.ids.uuid()), "connector": self._connector()}
            return self._on_volume("old_connection", _VOLUMES, _begin_connection, said)
        connector = self._random.choice((None, self._connector()))
        return self._on_volume("old_connection", _CONNECTED, _begin_disconnection, {"connector": connector})

    def _old_detach(self, env: Env) -> Call | None:
        if self._random.random() < 0.7:
            return self._on_volume("old_detach", _CONNECTED, _begin_detach, {"attachment_id": None})
        said = {"attachment_id": None, "connector": self._connector()}
        return self._on_volume("old_detach", _CONNECTED, _begin_force_detach, said)

    def _on_volume(self, kind: str, query: str, f: Callable[..., Any], said: Mapping[str, Any]) -> Call | None:
        found = self._aims.all(query)
        if not found:
            return None
        (volume,) = self._random.choice(found)
        table = "volumes" if kind in _SHOW_VOLUMES else "attachments"
        return Call(kind, f, volume, {"volume_id": VolumeId(volume), **said}, table=table)


def _accepted(f: Callable[..., Change]) -> Callable[..., Accepted]:
    """A request as other requests are answered: with its queue only if it has left an operation of its own."""

    def asked(tx: Connection, *, origin: Origin, **said: Any) -> Accepted:
        change = f(tx, origin=origin, **said)
        own = select(tables.operations.c.queue).where(tables.operations.c.id == origin.operation_id)
        return Accepted(tx.execute(own).scalar(), change.row)

    asked.__name__ = f.__name__
    return asked


_begin_create = _accepted(attachments.begin_create)
_begin_update = _accepted(attachments.begin_update)
_begin_delete = _accepted(attachments.begin_delete)
_complete = _accepted(attachments.complete)
_begin_connection = _accepted(old_attachments.begin_connection)
_begin_disconnection = _accepted(old_attachments.begin_disconnection)
_begin_detach = _accepted(old_attachments.begin_detach)
_begin_force_detach = _accepted(old_attachments.begin_force_detach)
_old_attach = _accepted(old_attachments.attach)
_reserve = _accepted(old_attachments.reserve)
_unreserve = _accepted(old_attachments.unreserve)
_begin_detaching = _accepted(old_attachments.begin_detaching)
_roll_detaching = _accepted(old_attachments.roll_detaching)

# Whose answers show the volume as it is then.
_SHOW_VOLUMES: Final = ("old_word", "old_attach")
_VISIBLE: Final = "SELECT id, volume_id FROM attachments WHERE NOT bare"
_NEWEST: Final = "ORDER BY created_at_us DESC, 1 LIMIT 4"
_ANY: Final = f"{_VISIBLE} {_NEWEST}"
_CONNECTABLE: Final = f"{_VISIBLE} AND status IN ('reserved', 'error_attaching', 'attaching') {_NEWEST}"
_COMPLETABLE: Final = f"{_VISIBLE} AND status = 'attaching' AND operation_id IS NULL {_NEWEST}"
_VOLUMES: Final = (
    "SELECT id FROM volumes WHERE NOT tombstone AND status IN ('available', 'attaching') AND object_name IS NOT NULL"  # noqa: S608  words of our own
    f" {_NEWEST}"
)
_WORDED: Final = (
    "SELECT id FROM volumes WHERE NOT tombstone AND status IN ('attaching', 'detaching', 'in-use')"  # noqa: S608  our own
    f" {_NEWEST}"
)
_CONNECTED: Final = (
    "SELECT id FROM volumes v WHERE NOT tombstone AND EXISTS (SELECT 1 FROM attachments a WHERE a.volume_id = v.id)"  # noqa: S608  words of our own
    f" {_NEWEST}"
)
