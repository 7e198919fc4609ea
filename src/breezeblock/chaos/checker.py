"""What is wrong with a run: each invariant of the architecture as a pure function over what was written down.

    exclusion, overlaps    calls on storage, and until when each worker was certainly alive
    order, transitions     what the database's commits did
    once, expectations     what the clients were answered, against the log of operations and the rows
    storage, data          rows against files
    accounts               the product's own sums, and Termination what is still under way: read from the tables by `evidence`

A storage fault may make an operation fail, and the loss of many nodes may end one: `pardons` says what that explains. Whatever
else fails is wrong.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

from breezeblock.chaos.asked import ACCEPTED, REFUSED, UNAVAILABLE, Asked
from breezeblock.chaos.attaching import KINDS as ATTACHING
from breezeblock.chaos.contents import is_one_of
from breezeblock.chaos.evidence import Call, Rest, Row, Token
from breezeblock.chaos.load import CREATES, Backup, Client, Snapshot, Volume
from breezeblock.chaos.nemesis import Strike
from breezeblock.chaos.pardons import Pardons, full_times, within
from breezeblock.chaos.watching import Event

__all__ = [
    "Finding", "Requests", "data", "data_on_the_way", "exclusion", "expectations", "once", "order", "overlaps", "storage",
    "transitions", "unplaced_requests",
]  # fmt: skip

GIB: Final = 1024**3
# Kinds of requests that leave no operation, or not always one: they are done when they are answered.
AT_ONCE: Final = frozenset({"metadata", *ATTACHING})
DELETES: Final = frozenset({"delete", "cascade"})
WANT_SPACE: Final = CREATES | {"extend", "retype"}
BORN: Final = ("creating", "error")
AT_REST: Final = frozenset({"available"})

Alive = Mapping[tuple[str, int], float]


class Finding(NamedTuple):
    """One thing that is wrong."""

    invariant: str
    text: str


# --- calls on storage -------------------------------------------------------------------------------------------------


class _Touch(NamedTuple):
    """One call on one resource. `until` is the latest instant at which it may have taken effect."""

    start: float
    until: float
    token: Token
    writes: bool
    call: Call


def exclusion(calls: Iterable[Call], alive: Alive, backups: Container[str] = ()) -> list[Finding]:
    """After a call under a token, none under a conflicting lower one begins or still has an effect to come.

    What touches an object without a token of its resource could be told from nothing, so it is wrong by itself. But what a
    backup has kept is a hint that anybody may remove: a later backup of the volume, and the end of that.
    """
    calls = list(calls)
    found = [
        Finding("Exclusion", f"{call.call} {call.object} by {call.incarnation[:8]} has no token of {resource}")
        for call in calls
        for resource, _ in _touched(call)
        if resource not in call.tokens and not (call.call == "delete" and resource in backups)
    ]
    for resource, first, second in _conflicts(calls, alive):
        if second.token < first.token:
            found.append(Finding("Exclusion", f"{resource}: {_told(second)} began after {_told(first)}"))
        elif first.until > second.start and first.token != second.token:
            what = (
                "was still under way"
                if first.call.end is not None
                else "was never finished by a process that was alive"
            )
            found.append(Finding("Exclusion", f"{resource}: {_told(first)} {what} when {_told(second)} had begun"))
        elif first.token == second.token and first.call.pid != second.call.pid:
            found.append(Finding("Exclusion", f"{resource}: {_told(first)} and {_told(second)} are by two processes"))
    return found


def overlaps(calls: Iterable[Call], alive: Alive) -> list[tuple[str, Call, Call]]:
    """Two processes, or two operations, writing to one resource at the same time."""
    return [
        (resource, first.call, second.call)
        for resource, first, second in _conflicts(calls, alive)
        if first.writes and second.writes and first.until > second.start
    ]


def _conflicts(calls: Iterable[Call], alive: Alive) -> Iterator[tuple[str, _Touch, _Touch]]:
    """Pairs of calls on a resource, at least one a change, under different tokens or by different processes; the one that
    began first comes first."""
    lines: dict[str, list[_Touch]] = defaultdict(list)
    for call in calls:
        for resource, writes in _touched(call):
            if resource in call.tokens:
                until = _until(call, alive)
                lines[resource].append(_Touch(call.start, until, call.tokens[resource], writes, call))
    for resource, line in sorted(lines.items()):
        line.sort(key=lambda touch: (touch.start, touch.until))
        for first, second in combinations(line, 2):
            others = first.token != second.token or first.call.pid != second.call.pid
            if others and (first.writes or second.writes):
                yield resource, first, second


def _touched(call: Call) -> Iterator[tuple[str, bool]]:
    """The resources whose objects a changing call is about, and whether it writes to them. A failover is about none."""
    if call.changes and call.call != "failover":
        for name, writes in ((call.object, True), (call.source, False)):
            if name:
                yield name.split(".")[0], writes


def _until(call: Call, alive: Alive) -> float:
    if call.end is not None:
        return call.end
    return max(call.start, alive.get((call.incarnation, call.pid), call.start))


def _told(touch: _Touch) -> str:
    call = touch.call
    end = f"{call.end:.3f}" if call.end is not None else "never"
    return f"{call.call} {call.object} under {touch.token} by {call.incarnation[:8]} ({call.start:.3f} to {end})"


# --- commits ----------------------------------------------------------------------------------------------------------


def order(events: Iterable[Event]) -> list[Finding]:
    """Places are handed out in the order of commits, and nobody is claimed or ends before a conflicting earlier one."""
    found: list[Finding] = []
    last: dict[str, int] = {}
    lines: dict[str, dict[int, tuple[str, bool]]] = defaultdict(dict)
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for event in events:
        if event.what == "locked":
            resource, (seq, exclusive) = str(event.before), (int(word) for word in str(event.after).split())
            if seq <= last.get(resource, -1):
                found.append(Finding("Order", f"{resource}: place {seq} was handed out after {last[resource]}"))
            last[resource] = max(seq, last.get(resource, -1))
            lines[resource][seq] = (event.id, bool(exclusive))
            places[event.id][resource] = seq
        elif event.what in ("claimed", "ended"):
            for resource, seq in places[event.id].items():
                mine = lines[resource].get(seq, (event.id, True))[1]
                for earlier, (other, exclusive) in lines[resource].items():
                    if earlier < seq and (mine or exclusive):
                        text = f"{resource}: {event.id} at {seq} was {event.what} before {other} at {earlier} had ended"
                        found.append(Finding("Order", text))
                if event.what == "ended":
                    lines[resource].pop(seq, None)
    return found


def transitions(events: Iterable[Event], moves: Mapping[str, set[tuple[str | None, str]]]) -> list[Finding]:
    """Only declared status changes ever happen."""
    found = []
    for event in events:
        if event.what not in moves:
            continue
        after = str(event.after)
        if event.before is None:
            if after not in BORN:
                found.append(Finding("Transitions", f"{event.what} {event.id} begins as {after}"))
        elif not {(event.before, after), (None, after)} & moves[event.what]:
            found.append(Finding("Transitions", f"{event.what} {event.id} went from {event.before} to {after}"))
    return found


# --- what the clients were told ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requests:
    """What became of the requests."""

    accepted: int
    finished: int
    failed_by_storage: int
    unplaced: int
    """Accepted, and refused at once with a message to the user: no pool had room while the storage was full."""
    lost: int
    doubled: int
    findings: list[Finding]


def unplaced_requests(asked: Iterable[Asked], rest: Rest, strikes: Iterable[Strike]) -> set[str]:
    """Requests for space that left a message and no operation, while the storage was full or had not been measured since."""
    full = full_times(strikes)
    with_operation = {row["request_id"] for row in (*rest.log, *rest.operations)}
    return {
        one.request_id
        for one in asked
        if one.request_id
        and one.kind in WANT_SPACE
        and within(one, full)
        and one.request_id in rest.told
        and one.request_id not in with_operation
    }


def once(asked: Sequence[Asked], rest: Rest, pardons: Pardons, unplaced: set[str]) -> Requests:
    """Each accepted request is one finished operation, and a refused one is none."""
    logged: dict[str, list[Row]] = defaultdict(list)
    for row in rest.log:
        logged[row["request_id"]].append(row)
    waiting = {row["request_id"] for row in rest.operations}
    nowhere = {one.name for one in asked if one.kind in CREATES and one.request_id in unplaced}
    ended_by_detach = _locked_by(rest.log, "disconnect_attachments")
    counts: Counter[str] = Counter()
    findings: list[Finding] = []
    for one in asked:
        done = logged.get(one.request_id or "", [])
        if one.outcome in (REFUSED, UNAVAILABLE) and (done or one.request_id in waiting):
            findings.append(Finding("Once", f"{one} was refused, and is operation {done}"))
        if one.outcome == ACCEPTED:
            what = _what_became(one, done, one.request_id in waiting, unplaced, nowhere)
            counts.update(("accepted", what))
            counts["failed"] += bool(done) and done[0]["operation_id"] in pardons.operations
            if what in ("lost", "doubled"):
                findings.append(Finding("Once", f"{one} was accepted, and is {len(done)} operations"))
    for row in rest.log:
        cancelled = row["kind"] == "connect_attachment" and row["outcome"] == "cancelled"
        taken_back = cancelled and not ended_by_detach.isdisjoint(_locked_by([row], "connect_attachment"))
        if row["outcome"] != "done" and not taken_back and row["operation_id"] not in pardons.operations:
            text = f"operation {row['kind']} of {row['resource_id']} ended as {row['outcome']}: {row['detail']}"
            findings.append(Finding("Once", text))
    return Requests(
        counts["accepted"], counts["finished"], counts["failed"], counts["unplaced"], counts["lost"], counts["doubled"],
        findings,
    )  # fmt: skip


def _locked_by(log: Iterable[Row], kind: str) -> set[str]:
    """The resources that operations of a kind had for themselves."""
    return {resource for row in log if row["kind"] == kind for resource, _, exclusive in row["locks"] if exclusive}


def _what_became(one: Asked, done: list[Row], waits: bool, unplaced: set[str], nowhere: set[str]) -> str:
    """In one word, of an accepted request. `nowhere` names volumes that no pool took: they go without an operation."""
    if len(done) > 1:
        return "doubled"
    if done or one.kind in AT_ONCE or (one.kind in DELETES and one.name in nowhere):
        return "finished"
    if one.request_id in unplaced:
        return "unplaced"
    return "waiting" if waits else "lost"  # Termination tells of those that wait


def expectations(clients: Iterable[Client], rest: Rest, pardons: Pardons, unplaced: set[str]) -> list[Finding]:
    """Every resource is as its client was told, and there is none that nobody asked for."""
    clients = list(clients)
    small = {one.name for client in clients for one in client.asked if one.request_id in unplaced}
    volumes, snapshots, backups = _by_name(rest.volumes), _by_name(rest.snapshots), _by_name(rest.backups)
    known: set[str] = set()
    found: list[Finding] = []
    for client in clients:
        for volume in client.volumes:
            known.add(volume.name)
            there = volumes.get(volume.name, [])
            found += _existence("volume", volume, there, pardons)
            for row in there:
                if volume.name in small or row["id"] in pardons.rests:
                    sizes, kinds = volume.sizes | volume.sizes_ever, volume.types | volume.types_ever
                else:
                    sizes, kinds = volume.sizes, volume.types
                found += _volume(volume, row, sizes, kinds, rest.types, pardons)
            for snapshot in volume.snapshots:
                known.add(snapshot.name)
                taken = snapshots.get(snapshot.name, [])
                found += _existence("snapshot", snapshot, taken, pardons)
                for row in taken:
                    sizes = snapshot.sizes | (snapshot.sizes_ever if volume.name in small else set())
                    found += _sized("snapshot", snapshot, row, sizes, pardons)
        for backup in client.backups:
            known.add(backup.name)
            kept = backups.get(backup.name, [])
            found += _existence("backup", backup, kept, pardons)
            for row in kept:
                sizes = backup.sizes | (backup.sizes_ever if backup.of in small else set())
                found += _sized("backup", backup, row, sizes, pardons)
    for row in (*rest.volumes, *rest.snapshots, *rest.backups):
        if row["name"] not in known:
            found.append(Finding("Once", f"{row['id']} ({row['name']}) was never asked for"))
    return found


def _existence(noun: str, known: Volume | Snapshot | Backup, there: list[Row], pardons: Pardons) -> Iterator[Finding]:
    # A deletion that failed leaves its row; no failure takes one away.
    pardoned = any(row["id"] in pardons.rests for row in there)
    if len(there) > 1 or (bool(there) not in known.there and not pardoned):
        yield Finding("Once", f"{noun} {known.name} ({known.id}): {len(there)} rows, expected there: {known.there}")
    if there and known.id is not None and there[0]["id"] != known.id:
        yield Finding("Once", f"{noun} {known.name} is {there[0]['id']}, and was accepted as {known.id}")


def _volume(
    volume: Volume, row: Row, sizes: set[int], kinds: set[str | None], types: Mapping[str, str], pardons: Pardons
) -> Iterator[Finding]:
    name = f"volume {volume.name} ({row['id']})"
    if row["status"] not in (may := pardons.rests.get(row["id"], AT_REST)):
        yield Finding("Once", f"{name} is {row['status']}, expected {set(may)}")
    if row["size_gib"] not in sizes:
        yield Finding("Once", f"{name} has {row['size_gib']} GiB, expected {sizes}")
    type_name = types[row["volume_type_id"]]
    if not kinds & {type_name, None}:
        yield Finding("Once", f"{name} has type {type_name}, expected {kinds}")
    metadata = json.loads(row["metadata_json"])
    for key, values in volume.metadata.items():
        if metadata.get(key) not in values:
            yield Finding("Once", f"{name} has {key}={metadata.get(key)}, expected {values}")


def _sized(noun: str, known: Snapshot | Backup, row: Row, sizes: set[int], pardons: Pardons) -> Iterator[Finding]:
    name = f"{noun} {known.name} ({row['id']})"
    if row["status"] not in pardons.rests.get(row["id"], AT_REST) or row["size_gib"] not in sizes:
        yield Finding("Once", f"{name} is {row['status']} with {row['size_gib']} GiB, expected {sizes}")


def _by_name(found: Iterable[Row]) -> dict[str, list[Row]]:
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        by_name[row["name"]].append(row)
    return by_name


# --- rows and files ---------------------------------------------------------------------------------------------------


def storage(rest: Rest, pardons: Pardons) -> list[Finding]:
    """Each row is exactly one file of the right length, and each file is a row's. A failed operation may leave parts."""
    named = {row["object_name"]: row for row in (*rest.volumes, *rest.snapshots) if row["object_name"]}
    found = []
    for name, row in named.items():
        if name not in rest.files:
            if not pardons.may_be_gone(name):
                found.append(Finding("Once", f"{row['id']} ({row['status']}) has no file {name}"))
        elif (size := rest.files[name]) != (wanted := row["size_gib"] * GIB) and (
            size < wanted or row["id"] not in pardons.grown
        ):
            found.append(Finding("Once", f"{name} has {rest.files[name]} bytes, its row {row['size_gib']} GiB"))
    published = {row["id"]: name for name, row in named.items()}
    for name in rest.files.keys() - named.keys() - rest.kept:
        if not pardons.may_stay(name, published.get(name.split(".")[0])):
            found.append(Finding("Once", f"the file {name} is nobody's"))
    return found


def data(clients: Iterable[Client], rest: Rest, pardons: Pardons) -> tuple[int, list[Finding]]:
    """What clients wrote is where they expect it, at rest. Returns how many contents were compared, too."""
    rows = {row["id"]: row for row in (*rest.volumes, *rest.snapshots)}
    compared, found = 0, []
    for client in clients:
        everything: list[Volume | Snapshot] = [*client.volumes, *client.known_snapshots()]
        for known in everything:
            row = rows.get(known.id or "")
            if row is None or row["object_name"] not in rest.heads:
                continue
            content = _content(known, pardoned=row["id"] in pardons.rests)
            if content is None:
                continue
            compared += 1
            if not is_one_of(rest.heads[row["object_name"]], content):
                found.append(Finding("Data", f"{known.name} ({row['object_name']}) holds none of {content}"))
    return compared, found


def _content(known: Volume | Snapshot, *, pardoned: bool) -> set[str] | None:
    """What may be in it; None when nobody knows. After a revert or a restore that failed it may be what it was before."""
    if not pardoned or known.content is None or isinstance(known, Snapshot):
        return known.content
    return None if known.content_before is None else known.content | known.content_before


def data_on_the_way(clients: Iterable[Client]) -> tuple[int, list[Finding]]:
    """The same, of the comparisons that the clients made themselves while everything was going on."""
    clients = list(clients)
    found = [Finding("Data", text) for client in clients for text in client.wrong_contents]
    return sum(client.compared for client in clients), found
