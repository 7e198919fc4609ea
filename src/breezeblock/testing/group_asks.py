"""What clients of a simulation ask for groups of volumes. Everything else that they ask for is in `asks.py`."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, insert

from breezeblock.env.contract import Env
from breezeblock.model.ids import VolumeId
from breezeblock.model.requests import NewVolume
from breezeblock.resources import group_snapshots, group_sources, group_types, groups, volumes
from breezeblock.store import tables
from breezeblock.testing.aims import HOT, Aims
from breezeblock.testing.call import Call

__all__ = ["CALLS", "GroupAsks", "prepare"]

CALLS: Final = {
    "create_group": 0.7,
    "create_in_group": 2.0,
    "change_group": 1.0,
    "create_group_snapshot": 1.6,
    "create_from_group": 1.0,
    "create_from_group_snapshot": 1.2,
    "delete_group": 1.0,
    "delete_group_snapshot": 1.2,
    "reset_group_status": 0.3,
    "reset_group_snapshot_status": 0.3,
    "change_group_type": 0.3,
}
PLAIN: Final = "44444444-4444-4444-8444-444444444444"
NAMES: Final = ("plain", "other")
GROUPS_MOST: Final = 3
# More volumes than that make one operation so long that little else happens in a run.
MEMBERS_MOST: Final = 3


def prepare(tx: Connection, *, at_us: int) -> None:
    """A group type that asks nothing of a backend, and that of consistency groups, as a migrated database has it."""
    tx.execute(insert(tables.group_types).values(id=PLAIN, name=NAMES[0], created_at_us=at_us))
    group_types.ensure_consistent_type(tx)


class GroupAsks:
    """Draws requests. `owned` tells whose a new resource is: its source's."""

    def __init__(self, random: Random, aims: Aims, owned: Callable[[str, str], None], quota: Mapping[str, int]) -> None:
        self._random = random
        self._aims = aims
        self._owned = owned
        self._quota = quota
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "create_group": self._create,
            "create_in_group": self._create_in,
            "change_group": self._change,
            "create_group_snapshot": self._take,
            "create_from_group": self._copy,
            "create_from_group_snapshot": self._copy_snapshot,
            "delete_group": self._delete,
            "delete_group_snapshot": self._delete_snapshot,
            "reset_group_status": self._reset,
            "reset_group_snapshot_status": self._reset_snapshot,
            "change_group_type": self._change_type,
        }

    def _one(self, fitting: str, *values: str) -> str | None:
        """One of the latest; without an aim, of all that there are."""
        found = self._aims.all(fitting if self._aims.is_aimed else _ANY[fitting], *values)
        return self._random.choice(found)[0] if found else None

    def _create(self, env: Env) -> Call | None:
        if len(self._aims.all(_ALL_GROUPS)) >= GROUPS_MOST and self._random.random() < 0.9:
            return None
        id_ = env.ids.uuid()
        known = [row[0] for row in self._aims.all(_TYPES)]
        wanted = groups.NewGroup(
            id=id_,
            group_type=PLAIN,
            volume_types=tuple(self._random.sample(known, self._random.randint(1, len(known)))),
        )
        said = {"wanted": wanted, "quota_defaults": self._quota}
        return Call("create_group", groups.create, id_, said, table="volume_groups")

    def _create_in(self, env: Env) -> Call | None:
        group = self._one(_GROWING)
        types = [] if group is None else self._aims.all(_TYPES_OF, group)
        if group is None or not types:
            return None
        id_ = env.ids.uuid()
        self._owned(id_, group)
        type_ = self._random.choice(types)[0]
        wanted = NewVolume(id=VolumeId(id_), size_gib=self._random.randint(1, 2), volume_type=type_, group_id=group)
        said = {"wanted": wanted, "quota_defaults": self._quota}
        return Call("create_in_group", volumes.begin_create, id_, said, table="volumes")

    def _change(self, env: Env) -> Call | None:
        """A volume leaves, or one comes (back)."""
        if (group := self._one(_GROUPS)) is None:
            return None
        members, others = self._aims.all(_MEMBERS, group), self._aims.all(_OTHERS, group)
        leave = [self._random.choice(members)[0]] if members and self._random.random() < 0.5 else []
        join = [self._random.choice(others)[0]] if others and self._random.random() < 0.6 else []
        name = self._random.choice((None, *NAMES))
        said = {"name": name, "description": None, "add": tuple(join), "remove": tuple(leave)}
        return self._on_group("change_group", groups.update, group, said)

    def _take(self, env: Env) -> Call | None:
        if (group := self._one(_FULL)) is None:
            return None
        id_ = env.ids.uuid()
        self._owned(id_, group)
        said = {"wanted": group_snapshots.NewGroupSnapshot(id=id_, group_id=group), "quota_defaults": self._quota}
        return Call("create_group_snapshot", group_snapshots.begin_create, id_, said, table="group_snapshots")

    def _copy(self, env: Env) -> Call | None:
        group = self._one(_FULL)
        return None if group is None else self._made(env, "create_from_group", group, source_group_id=group)

    def _copy_snapshot(self, env: Env) -> Call | None:
        taken = self._one(_TAKEN)
        kind = "create_from_group_snapshot"
        return None if taken is None else self._made(env, kind, taken, group_snapshot_id=taken)

    def _made(self, env: Env, kind: str, of: str, **source: str) -> Call:
        id_ = env.ids.uuid()
        self._owned(id_, of)
        said = {"wanted": group_sources.GroupFromSource(id=id_, **source), "quota_defaults": self._quota}
        return Call(kind, group_sources.begin_create, id_, said, table="volume_groups")

    def _delete(self, env: Env) -> Call | None:
        group = self._one(_DISPOSABLE)
        said = {"with_volumes": self._random.random() < 0.8}
        return None if group is None else self._on_group("delete_group", groups.begin_delete, group, said)

    def _delete_snapshot(self, env: Env) -> Call | None:
        taken = self._one(_SPARE)
        return self._on_snapshot("delete_group_snapshot", group_snapshots.begin_delete, taken, {})

    def _reset(self, env: Env) -> Call | None:
        """Of any: what is under way is what it is for."""
        group = self._one(_ANY_GROUP)
        said = {"status": self._random.choice(("available", "available", "error"))}
        return None if group is None else self._on_group("reset_group_status", groups.reset_status, group, said)

    def _reset_snapshot(self, env: Env) -> Call | None:
        taken = self._one(_ANY_TAKEN)
        said = {"status": self._random.choice(("available", "available", "error"))}
        return self._on_snapshot("reset_group_snapshot_status", group_snapshots.reset_status, taken, said)

    def _change_type(self, env: Env) -> Call | None:
        """The plain one is renamed, and others come and go."""
        word = self._random.choice(NAMES)
        others = [row[0] for row in self._aims.all(_OTHER_TYPES)]
        if not others:
            said: dict[str, Any] = {"name": word, "description": None, "is_public": True, "specs": {}}
            return self._on_type(group_types.create_type, env.ids.uuid(), said)
        other = self._random.choice(others)
        asked: tuple[tuple[Callable[..., Any], str, dict[str, Any]], ...] = (
            (group_types.update_type, PLAIN, {"name": word, "description": None, "is_public": None}),
            (group_types.set_specs, other, {"specs": {"colour": word}}),
            (group_types.delete_spec, other, {"key": "colour"}),
            (group_types.delete_type, other, {}),
        )
        return self._on_type(*self._random.choice(asked))

    def _on_type(self, f: Callable[..., Any], type_id: str, said: dict[str, Any]) -> Call:
        return Call("change_group_type", f, type_id, {"type_id": type_id, **said}, table="group_types", admin=True)

    def _on_group(self, kind: str, f: Callable[..., Any], group: str, said: dict[str, Any]) -> Call:
        admin = "reset" in kind
        return Call(kind, f, group, {"group_id": group, **said}, table="volume_groups", admin=admin)

    def _on_snapshot(self, kind: str, f: Callable[..., Any], taken: str | None, said: dict[str, Any]) -> Call | None:
        if taken is None:
            return None
        admin = "reset" in kind
        return Call(kind, f, taken, {"group_snapshot_id": taken, **said}, table="group_snapshots", admin=admin)


_LATEST: Final = f" ORDER BY created_at_us DESC, id LIMIT {HOT}"
_ALL_GROUPS: Final = "SELECT id FROM volume_groups WHERE NOT tombstone"
_ALL_TAKEN: Final = "SELECT id FROM group_snapshots WHERE NOT tombstone"
_IN: Final = "SELECT count(*) FROM volumes v WHERE v.group_id = volume_groups.id AND NOT v.tombstone"
_TAKEN_OF: Final = "SELECT 1 FROM group_snapshots s WHERE s.group_id = volume_groups.id AND NOT s.tombstone"
_MEMBER: Final = "SELECT 1 FROM volumes v WHERE v.group_id = volume_groups.id AND NOT v.tombstone"
_READY: Final = f"{_ALL_GROUPS} AND status = 'available'"
_GROUPS: Final = f"{_READY}{_LATEST}"
_GROWING: Final = f"{_READY} AND pool_name IS NOT NULL AND ({_IN}) < {MEMBERS_MOST}{_LATEST}"
_FULL: Final = (
    f"{_READY} AND ({_IN}) BETWEEN 1 AND {MEMBERS_MOST}"
    f" AND NOT EXISTS ({_MEMBER} AND v.status NOT IN ('available', 'in-use')){_LATEST}"
)
_DISPOSABLE: Final = (
    f"{_ALL_GROUPS} AND status != 'deleting' AND NOT EXISTS ({_TAKEN_OF})"
    f" AND NOT EXISTS ({_MEMBER} AND v.status NOT IN ('available', 'error', 'error_deleting')){_LATEST}"
)
_TAKEN: Final = f"{_ALL_TAKEN} AND status = 'available'{_LATEST}"
_SPARE: Final = f"{_ALL_TAKEN} AND status IN ('available', 'error', 'error_deleting'){_LATEST}"
_ANY_GROUP: Final = f"{_ALL_GROUPS}{_LATEST}"
_ANY_TAKEN: Final = f"{_ALL_TAKEN}{_LATEST}"
_ANY: Final = dict.fromkeys((_GROUPS, _GROWING, _FULL, _DISPOSABLE, _ANY_GROUP), _ANY_GROUP) | dict.fromkeys(
    (_TAKEN, _SPARE, _ANY_TAKEN), _ANY_TAKEN
)
_TYPES: Final = "SELECT id FROM volume_types ORDER BY created_at_us, id"
_OTHER_TYPES: Final = (
    f"SELECT id FROM group_types WHERE name IN {NAMES} AND id != '{PLAIN}'"  # noqa: S608  words of our own
    " ORDER BY created_at_us, id"
)
_TYPES_OF: Final = "SELECT volume_type_id FROM group_volume_types WHERE group_id = ? ORDER BY 1"
_MEMBERS: Final = "SELECT id FROM volumes WHERE group_id = ? AND NOT tombstone ORDER BY id"
_OTHERS: Final = (
    "SELECT id FROM volumes WHERE group_id IS NULL AND NOT tombstone AND status IN ('available', 'in-use')"  # noqa: S608
    f" AND project_id = (SELECT project_id FROM volume_groups WHERE id = ?){_LATEST}"
)
