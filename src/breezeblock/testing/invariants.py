"""What no run may violate, watched while it goes on and checked when it has settled (architecture §9).

*Exclusion*, *Order* and *Transitions* are watched: every effect on storage and every commit passes by here at the instant
in which it happens. *Termination*, *Once*, *Accounts* and *Data* are checked at the end.
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import PART
from breezeblock.drivers.file_access import ACCESSES
from breezeblock.model.states import (
    BACKUP_TRANSITIONAL,
    ERROR_DETACHING,
    GROUP_TRANSITIONAL,
    NODE_LIVE,
    SNAPSHOT_TRANSITIONAL,
    VOLUME_TRANSITIONAL,
)
from breezeblock.resources import accounts, node_checks
from breezeblock.resources.services import is_enabled
from breezeblock.store import check
from breezeblock.store.tables import (
    attachments,
    backends,
    backups,
    driver_lock_lines,
    driver_locks,
    group_snapshots,
    kept_objects,
    node_events,
    nodes,
    operation_log,
    operations,
    pools,
    snapshots,
    volume_groups,
    volumes,
)
from breezeblock.store.transitions import Transition
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.contents import Contents, Resumed, read_whole
from breezeblock.testing.database import Seen
from breezeblock.testing.excuses import TIDIES, Excuses, Remains, may_have_removed
from breezeblock.testing.history import Tell
from breezeblock.testing.linear import Line, State
from breezeblock.testing.locking import Shelves
from breezeblock.testing.loop import Process
from breezeblock.testing.memory_files import MemoryFiles, Tokens
from breezeblock.testing.rules import Rules, World
from breezeblock.work.catalogue import CATALOGUE

__all__ = ["Violation", "Watcher", "check_rest", "is_quiet", "unfinished"]

GIB: Final = 1 << 30
BORN: Final = ("creating", "error", "restoring-backup", "managing", "error_managing")
RESOURCES: Final = ("volumes", "snapshots", "backups")
# They have nothing on storage, and are there with their request.
GROUPS: Final = ("volume_groups", "group_snapshots")
Token = tuple[int, int]


class Violation(AssertionError):
    """An invariant fell."""


@dataclass
class _Line:
    """What has been done on one resource: the highest tokens under which anything took effect."""

    exclusive: Token = (-1, -1)
    any: Token = (-1, -1)
    epochs: dict[int, int] = field(default_factory=dict)


class Watcher:
    """Sees every commit and every effect on storage. Violations are collected, not raised: the culprit goes on."""

    def __init__(
        self,
        tell: Tell,
        world: World,
        now: Callable[[], float],
        *,
        is_there: Callable[[str], bool] = lambda resource: True,
    ) -> None:
        self._now = now
        self.line = Line()
        self._tell = tell
        self.violations: list[str] = []
        self.on_violation: Callable[[], None] = lambda: None
        self.rules = Rules(world, CATALOGUE, self.violated)
        self.exclusive: dict[tuple[str, int], bool] = {}
        """(resource, seq) -> whether that place in its line is an exclusive one."""
        self.resources_of: dict[str, dict[str, int]] = {}
        """operation -> its resources and its places in their lines."""
        self._lines: dict[str, _Line] = {}
        self._last_seq: dict[str, int] = {}
        self._open: dict[str, dict[int, str]] = {}
        self._applied: list[tuple[str, str, Transition]] = []
        self.contents = Contents()
        self._resumed = Resumed(self._tell_resumed)
        self._payloads: dict[str, tuple[str, dict[str, Any]]] = {}
        self.shelves = Shelves(self.violated, tell)
        self.excuses = Excuses(self.violated, is_there)
        self.state_of: Callable[[str], State | None] = lambda resource: None
        """What a resource is after the commit that is being looked at."""
        self.is_published: Callable[[str], bool] = lambda object_name: False

    def violated(self, invariant: str, what: str) -> None:
        """Note that an invariant fell."""
        self._tell(f"VIOLATION of {invariant}: {what}", kind="violation", invariant=invariant)
        self.violations.append(f"{invariant}: {what}")
        self.on_violation()

    def payloads(self, kind: str) -> dict[str, dict[str, Any]]:
        """What each operation of a kind was to do."""
        return {id_: payload for id_, (of, payload) in self._payloads.items() if of == kind}

    # --- storage ----------------------------------------------------------------------------------------------------

    def on_effect(self, writer: Process, call: str, path: PurePosixPath, tokens: Tokens) -> None:
        """*Exclusion*: after an effect under a token, none under a conflicting lower one."""
        process = writer.name
        self.rules.on_effect(writer, f"{call} {path.name}", backend=path.parts[1])
        if not tokens:
            return
        self._tell(
            f"{process}: {call} {path.name}",
            kind="effect",
            process=process,
            call=call,
            name=path.name,
            tokens=dict(tokens),
        )
        self._resumed.on_effect(call, path, tokens)
        self.shelves.on_effect(process, call, path, tokens)
        if call == "remove" and self.is_published(path.name) and not self._is_deletion(tokens):
            self.violated("Once", f"{process} removed {path.name}, which is what its row names")
        for resource, token in tokens.items():
            line = self._lines.setdefault(resource, _Line())
            exclusive = self.exclusive.get((resource, token[0]), True)
            conflicting = line.any if exclusive else line.exclusive
            same_place = line.epochs.get(token[0], -1)
            if conflicting > token or same_place > token[1]:
                newer = max(conflicting, (token[0], same_place))
                self.violated(
                    "Exclusion", f"{call} {path.name} by {process} under {token} of {resource}, after one under {newer}"
                )
            line.any = max(line.any, token)
            if exclusive:
                line.exclusive = max(line.exclusive, token)
            line.epochs[token[0]] = max(same_place, token[1])

    def _tell_resumed(self, resource: str, name: str) -> None:
        self._tell(f"the copy to {name} goes on from its checkpoint", kind="resumed", resource=resource, name=name)

    def _is_deletion(self, tokens: Tokens) -> bool:
        """Whether the operation whose effect this is deletes something, and is not over yet."""
        operations_ = (self._open.get(resource, {}).get(seq, "") for resource, (seq, _) in tokens.items())
        return any(self._payloads.get(id_, ("", {}))[0].startswith("delete") for id_ in operations_)

    # --- the database -----------------------------------------------------------------------------------------------

    def on_commit(self, seen: list[Seen], writer: Process | None) -> None:
        """Look at what one transaction did."""
        applied, self._applied = self._applied, []
        self.rules.see(seen, writer)
        self.excuses.applied(applied, self._changers)
        self._late_places(seen)
        badly = {id_: self.resources_of.get(id_, {}) for what, id_, how, _ in seen if what == "ended" and how != "done"}
        for what, id_, before, after in seen:
            if what in (*RESOURCES, *GROUPS):
                self._moved(what, id_, before, str(after), applied)
                if before is not None:
                    self.excuses.moved(id_, str(after), applied, badly)
                self.line.moved(id_, self._now(), self.state_of(id_))
            elif what == "edited":
                self.line.moved(id_, self._now(), self.state_of(id_))
            elif what == "gone":
                self.line.moved(id_, self._now(), None)
            elif what == "given":
                self.line.given(id_, self._now(), str(after))
            elif what == "locked":
                self._locked(id_, str(before), str(after))
            elif what == "owner":
                epoch = str(after).partition(" ")[0]
                text = f"operation {id_} is owned by {before} in epoch {epoch}"
                self._tell(text, kind="owned", operation=id_, owner=before, epoch=int(epoch))
                if writer is not None and before == writer.incarnation:
                    self._claimed(id_)
            elif what == "saved":
                self.excuses.saved(id_, str(after))
            elif what == "announced":
                self.excuses.presence.came(id_, str(before), self._now())
            elif what == "placed":
                self.shelves.placed(id_, str(before), str(after))
            elif what == "left":
                me = None if writer is None else writer.incarnation
                self.shelves.left(id_, int(str(before)), me=me, is_silenced=self.rules.is_silenced)
            elif what == "nodes":
                self.excuses.presence.moved(id_, str(after), self._now())
                self._tell(f"node {id_}: {before} -> {after}", kind="node", incarnation=id_, before=before, after=after)
        for what, id_, before, after in seen:
            if what == "enqueued":
                self._enqueued(id_, str(before), msgspec.json.decode(str(after)))
            elif what == "ended":
                self._ended(id_, outcome=str(before), kind=str(after))

    def on_rollback(self) -> list[tuple[str, str, Transition]]:
        """A transaction left nothing behind. Returns what it meant to do, for `on_resume`."""
        applied, self._applied = self._applied, []
        return applied

    def on_resume(self, applied: list[tuple[str, str, Transition]]) -> None:
        """A transaction that had been taken back is about to be committed after all."""
        self._applied = applied

    @contextmanager
    def transitions(self) -> Iterator[None]:
        """While inside, note which transitions are applied to which rows."""
        real = Transition.apply_locked
        applied = self

        def apply_locked(self: Transition, tx: Connection, row_id: str, **params: Any) -> dict[str, Any]:
            applied._applied.append((self.table.name, row_id, self))
            return real(self, tx, row_id, **params)

        Transition.apply_locked = apply_locked  # type: ignore[method-assign]
        try:
            yield
        finally:
            Transition.apply_locked = real  # type: ignore[method-assign]

    def _moved(
        self, table: str, id_: str, before: str | None, after: str, applied: list[tuple[str, str, Transition]]
    ) -> None:
        """*Transitions*: every status change is one of a declared transition that was applied to this very row."""
        text = f"{table} {id_}: {before} -> {after}"
        self._tell(text, kind="status", table=table, resource=id_, before=before, after=after)
        if before is None:
            if after not in BORN and not (table in GROUPS and after == "available"):
                self.violated("Transitions", f"{table} {id_} begins as {after}")
            return
        for name, row_id, transition in applied:
            if (name, row_id) == (table, id_) and {(before, after), (None, after)} & set(transition.moves):
                return
        self.violated("Transitions", f"{table} {id_} went from {before} to {after}, which nothing declares")

    def _late_places(self, seen: Sequence[Seen]) -> None:
        """*Order*: who stands in a line neither changes its place nor gets another one, but in the line of what it creates."""
        begun = {id_ for what, id_, _, _ in seen if what == "enqueued"}
        born = {id_ for what, id_, before, _ in seen if what in (*RESOURCES, *GROUPS) and before is None}
        for what, id_, resource, place in seen:
            if what == "moved":
                self.violated("Order", f"{id_} changes its place in the line of {resource}: {place}")
            elif what == "locked" and id_ not in begun and resource not in born:
                self.violated("Order", f"{id_}, accepted long ago, gets a place in the line of {resource}: {place}")

    def _locked(self, operation: str, resource: str, place: str) -> None:
        """*Order*: places in a line are handed out in the order of commits."""
        seq, exclusive = (int(word) for word in place.split())
        if self._last_seq.get(resource, -1) >= seq:
            self.violated("Order", f"{operation} got place {seq} of {resource}, after {self._last_seq[resource]}")
        self._last_seq[resource] = seq
        self.exclusive[resource, seq] = bool(exclusive)
        self.resources_of.setdefault(operation, {})[resource] = seq
        self.shelves.in_line(operation, resource, seq)
        self._open.setdefault(resource, {})[seq] = operation

    def _enqueued(self, id_: str, kind: str, payload: dict[str, Any]) -> None:
        places = self.resources_of.get(id_, {})
        text = f"operation {id_} {kind} enqueued: {places}"
        self._tell(text, kind="enqueued", operation=id_, operation_kind=kind, places=dict(places))
        self._payloads[id_] = (kind, payload)
        self.excuses.enqueued(id_, kind)
        if kind == node_checks.KIND:
            self.excuses.presence.asked(id_, payload["node"], self._now())
        self.contents.enqueued(kind, payload)

    def _changers(self, resource: str) -> list[str]:
        """The operations that change a resource, or wait to."""
        return [id_ for seq, id_ in self._open.get(resource, {}).items() if self.exclusive[resource, seq]]

    def _claimed(self, id_: str) -> None:
        """*Order*: whoever is claimed has nobody conflicting before it in any of its lines."""
        self._require_nobody_before(id_, "was claimed")

    def _require_nobody_before(self, id_: str, what: str) -> None:
        for resource, seq in self.resources_of.get(id_, {}).items():
            for earlier, other in self._open.get(resource, {}).items():
                if earlier < seq and (self.exclusive[resource, earlier] or self.exclusive[resource, seq]):
                    self.violated("Order", f"{id_} at place {seq} of {resource} {what} before {other} at {earlier}")

    def _ended(self, id_: str, *, outcome: str, kind: str) -> None:
        """*Order*: whoever ends has nobody conflicting before it in any of its lines."""
        text = f"operation {id_} {kind} ended: {outcome}"
        self._tell(text, kind="ended", operation=id_, operation_kind=kind, outcome=outcome)
        self._require_nobody_before(id_, "ended")
        places = self.resources_of.get(id_, {}).items()
        held = [one for one, seq in places if self.exclusive[one, seq]]
        reads = [one for one, seq in places if not self.exclusive[one, seq]]
        lost_owners = self.rules.lost_owners[id_]
        self.excuses.ended(id_, kind, outcome, lost_owners=lost_owners, resources=held, reads=reads, at=self._now())
        for resource, seq in self.resources_of.get(id_, {}).items():
            line = self._open.get(resource, {})
            line.pop(seq, None)
            self.line.moved(
                resource, self._now(), self.state_of(resource)
            )  # perhaps its size or type, and nothing else
        kind, payload = self._payloads.get(id_, (kind, {}))
        self.contents.ended(kind, payload, outcome=outcome)


# --- at rest --------------------------------------------------------------------------------------------------------


def is_quiet(tx: Connection) -> bool:
    """Whether nothing is under way, and nobody only starts: before it says what it serves, words are about others alone."""
    starting = select(nodes.c.incarnation).where(nodes.c.state.in_(NODE_LIVE), nodes.c.queues_json == "[]")
    return not unfinished(tx) and tx.execute(starting).first() is None


def unfinished(tx: Connection) -> list[str]:
    """*Termination*: what is still under way; a lost node that nobody has fenced, whatever it owned; locks of drivers."""
    found = [
        f"operation {row.id} {row.kind} of {row.resource_id} (owner {row.owner}, epoch {row.epoch}, attempt {row.attempt})"
        for row in tx.execute(select(operations))
    ]
    for table, transitional in (
        (volumes, VOLUME_TRANSITIONAL),
        (snapshots, SNAPSHOT_TRANSITIONAL),
        (backups, BACKUP_TRANSITIONAL),
        (volume_groups, GROUP_TRANSITIONAL),
        (group_snapshots, GROUP_TRANSITIONAL),
    ):
        wanted = select(table.c.id, table.c.status).where(table.c.status.in_(transitional), ~table.c.tombstone)
        found += [f"{table.name} {row.id} is {row.status}" for row in tx.execute(wanted)]
    in_line = select(driver_lock_lines.c.id, driver_locks.c.shown, driver_locks.c.operation_id)
    for row in tx.execute(in_line.outerjoin(driver_locks, driver_locks.c.line == driver_lock_lines.c.id)):
        found.append(f"the line {row.shown or row.id} is there, operation {row.operation_id} in it")
    lost = select(nodes.c.incarnation, nodes.c.fencer).where(nodes.c.state == "expired")
    return found + [f"node {row.incarnation} is expired (fencer {row.fencer})" for row in tx.execute(lost)]


async def check_rest(tx: Connection, watcher: Watcher, cluster: Cluster) -> None:
    """Everything that must hold once all has come to rest."""
    for problem in check.problems(tx):
        watcher.violated("Accounts", problem)
    # What nodes have seen while it went on: no charge is ever apart from what is charged for.
    for problem in tx.execute(select(node_events.c.detail).where(node_events.c.event == accounts.EVENT)).scalars():
        watcher.violated("Accounts", problem)
    rows = {
        row["id"]: dict(row)
        for table in (volumes, snapshots)
        for row in tx.execute(select(table).where(~table.c.tombstone)).mappings()
    }
    _check_log(tx, watcher)
    _check_words(tx, watcher)
    remains = _remains(tx, watcher)
    aside = set(tx.execute(select(backups.c.id).where(backups.c.temp_volume_id.is_not(None))).scalars())
    kept = set(tx.execute(select(kept_objects.c.object_name)).scalars())
    for path in await _objects(cluster):
        resource = ObjectName.parse(path.name.removesuffix(PART)).resource_id
        if path.name.removesuffix(PART) in kept:
            continue
        if resource not in aside:  # a copy that could not be removed
            _check_object(path, rows, remains, watcher)
    await _check_accesses(tx, watcher, cluster, remains)
    for row in rows.values():
        await _check_row(row, cluster, remains, watcher)


def _check_words(tx: Connection, watcher: Watcher) -> None:
    """What operators have closed is open again, and each pool takes new volumes exactly if that is what was said."""
    for row in tx.execute(select(backends.c.queue).where(backends.c.frozen)):
        watcher.violated("Words", f"{row.queue} is still frozen")
    for pool in tx.execute(select(pools.c.name, pools.c.queue, pools.c.enabled)):
        if pool.enabled != is_enabled(tx, queue=pool.queue):
            watcher.violated(
                "Words", f"pool {pool.name} is {'open' if pool.enabled else 'closed'} against what operators said"
            )


def _check_log(tx: Connection, watcher: Watcher) -> None:
    logged = {row.operation_id for row in tx.execute(select(operation_log.c.operation_id))}
    for id_ in watcher.resources_of:
        if id_ not in logged:
            watcher.violated("Once", f"operation {id_} was accepted and is not in the log of what ended")


def _remains(tx: Connection, watcher: Watcher) -> Remains:
    """What operations may have left, or taken away, that ended without being able to clean up behind themselves."""
    remains = Remains()
    for row in tx.execute(select(operation_log)):
        id_, kind, outcome = row.operation_id, row.kind, row.outcome
        places = watcher.resources_of.get(id_, {}).items()
        for resource, seq in [place for place in places if watcher.exclusive[place]]:
            if watcher.excuses.may_have_left(id_, kind, outcome, epoch=row.epoch):
                remains.left(resource, seq, row.epoch)
            if may_have_removed(kind, outcome):
                remains.removed(resource, seq)
            if kind in TIDIES and outcome == "done":
                remains.tidied(resource, seq)
    return remains


async def _objects(cluster: Cluster) -> list[PurePosixPath]:
    disk = cluster.disk
    return [
        root / folder / name
        for root in cluster.roots()
        for folder in await _list(disk, root)
        if len(folder) == 2
        for name in await _list(disk, root / folder)
    ]


async def _list(disk: MemoryFiles, path: PurePosixPath) -> list[str]:
    try:
        return await disk.list_folder(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []  # no node ever came so far as to make it
        raise


async def _check_accesses(tx: Connection, watcher: Watcher, cluster: Cluster, remains: Remains) -> None:
    """*Once*: who is connected has one access, and nobody else has any. Of replicated backends some stay on the other side."""
    there = {row["id"]: row for row in tx.execute(select(attachments)).mappings()}
    found: set[str] = set()
    for backend in cluster.backends:
        root = PurePosixPath("/") / backend / ACCESSES
        for entry in [] if backend in cluster.arrays else await _list(cluster.disk, root):
            name = ObjectName.parse(entry.removesuffix(PART))
            row = there.get(name.resource_id)
            has_one = row is not None and row["connection_json"] is not None
            # A disconnection that was given up has said that it may be there.
            is_told = row is not None and row["status"] == ERROR_DETACHING
            if (not has_one or name.resource_id in found) and not is_told and not remains.may_stay(name, None):
                watcher.violated("Once", f"access {entry} is given, and its attachment is {row and row['status']}")
            found.add(name.resource_id)
    for row in there.values():
        pool = tx.execute(select(volumes.c.pool_name).where(volumes.c.id == row["volume_id"])).scalar()
        replicated = pool is not None and pool.rpartition("#")[2] in cluster.arrays
        if row["connection_json"] is not None and row["id"] not in found and not replicated:
            watcher.violated("Once", f"attachment {row['id']} ({row['status']}) is connected, and has no access")


def _check_object(
    path: PurePosixPath, rows: Mapping[str, Mapping[str, Any]], remains: Remains, watcher: Watcher
) -> None:
    """*Once*: no orphan."""
    name = ObjectName.parse(path.name.removesuffix(PART))
    row = rows.get(name.resource_id)
    if row is None:
        watcher.violated("Once", f"{path.name} is on storage, and its row is gone")
    elif path.parts[1] != row["pool_name"].rpartition("#")[2]:
        watcher.violated("Once", f"{path} is on storage, and its row is in {row['pool_name']}")
    elif path.name != row["object_name"] and not remains.may_stay(name, row["object_name"]):
        watcher.violated("Once", f"{path.name} is on storage, and its row is {row['object_name']} ({row['status']})")


async def _check_row(row: Mapping[str, Any], cluster: Cluster, remains: Remains, watcher: Watcher) -> None:
    """*Once*: no row without its object. *Data*: it holds what it must."""
    if row["object_name"] is None:
        return
    disk, path = cluster.disk, cluster.root(row["pool_name"]) / row["id"][:2] / row["object_name"]
    try:
        size = await disk.size(path)
    except FileNotFoundError:
        if not remains.may_be_gone(row["object_name"]):
            watcher.violated("Once", f"{row['object_name']} ({row['status']}) is not on storage")
        return
    wanted = row["size_gib"] * GIB
    if size < wanted or (size > wanted and not watcher.contents.may_be_larger(row["id"])):
        watcher.violated("Once", f"{row['object_name']} has {size} bytes, its row {row['size_gib']} GiB")
    if watcher.contents.knows(row["id"]):
        problem = watcher.contents.judge(row["id"], await read_whole(disk, path))
        if problem is not None:
            watcher.violated("Data", f"{row['object_name']} {problem}")
