"""Services and clusters, as operators know them, seen in the nodes' rows; and the operator's word about them.

A node serves queues (`cluster@backend`). For each of them it is one service `cinder-volume` on the host `node@backend`,
and all nodes of a queue are one cluster. Placement is a transaction of the API and no process of its own, but checks of
operators look for a scheduler: there is one entry for each cluster, which is up whenever somebody can ask. And as every node
makes backups, it is also one service `cinder-backup` on a host that is called as the node; clients look for one before they
back up. What an operator says about these two is kept and shown, and nothing obeys it.

An operator may disable a service or a cluster. That is kept in `services`, across restarts of the processes, and sets
`pools.enabled` of the queue in the same transaction: placement obeys the pool's row and needs no other.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from breezeblock.model.errors import NotFound
from breezeblock.model.origin import Origin
from breezeblock.model.states import NODE_LIVE
from breezeblock.resources.backends import UNTOUCHED, BackendState, lock_backend, read_states
from breezeblock.store.tables import nodes, pools, services

VOLUME: Final = "cinder-volume"
SCHEDULER: Final = "cinder-scheduler"
BACKUP: Final = "cinder-backup"
CLUSTER: Final = "cluster"  # the binary under which a cluster's own row is kept
BACKEND: Final = "backend"  # and the one for what its backend's state makes of it, apart from an operator's word


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator said, or what holds while nobody said anything."""

    disabled: bool = False
    reason: str | None = None
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service on one host. `queue` is None for a scheduler, and for backups."""

    binary: str
    host: str
    queue: str | None
    zone: str
    up: bool
    word: Word
    updated_at_us: int | None
    # Whether any node serves the queue; None until it has reported a pool.
    backend_up: bool | None = None
    backend: BackendState = UNTOUCHED


@dataclass(frozen=True, slots=True)
class Cluster:
    """All nodes that serve one queue."""

    name: str
    hosts: int
    hosts_down: int
    word: Word
    created_at_us: int | None
    updated_at_us: int | None
    heartbeat_at_us: int | None
    backend: BackendState = UNTOUCHED

    @property
    def up(self) -> bool:
        return self.hosts_down < self.hosts


# --- reading ----------------------------------------------------------------------------------------------------------


def list_services(tx: Connection, *, own_cluster: str, default_zone: str, with_backups: bool = False) -> list[Service]:
    """Every service, by binary and host; those of backups `with_backups`: most that ask want to know who serves a backend.

    `own_cluster` has a scheduler even before it has nodes. Four statements.
    """
    newest = _newest(tx)
    words = _words(tx)
    zones = {row.queue: row.availability_zone for row in tx.execute(select(pools.c.queue, pools.c.availability_zone))}
    backends = read_states(tx)
    live = {queue for node in newest if node["state"] in NODE_LIVE for queue in _queues(node)}
    found = [
        Service(
            binary=VOLUME,
            host=_host(node["name"], queue),
            queue=queue,
            zone=zones.get(queue, default_zone),
            up=node["state"] in NODE_LIVE,
            word=words.get((VOLUME, _host(node["name"], queue)), Word()),
            updated_at_us=node["renewed_at_us"],
            backend_up=queue in live if queue in zones else None,
            backend=backends.get(queue, UNTOUCHED),
        )
        for node in newest
        for queue in _queues(node)
    ]
    found += [
        Service(
            binary=SCHEDULER,
            host=cluster,
            queue=None,
            zone=default_zone,
            up=True,
            word=words.get((SCHEDULER, cluster), Word()),
            updated_at_us=_latest(node["renewed_at_us"] for node in newest if node["cluster"] == cluster),
        )
        for cluster in {own_cluster, *(node["cluster"] for node in newest)}
    ]
    if with_backups:
        found += [_of_backups(node, words, default_zone) for node in newest if _queues(node)]
    return sorted(found, key=lambda service: (service.binary, service.host))


def _of_backups(node: RowMapping, words: Mapping[tuple[str, str], Word], zone: str) -> Service:
    return Service(
        binary=BACKUP,
        host=node["name"],
        queue=None,
        zone=zone,
        up=node["state"] in NODE_LIVE,
        word=words.get((BACKUP, node["name"]), Word()),
        updated_at_us=node["renewed_at_us"],
    )


def list_clusters(tx: Connection) -> list[Cluster]:
    """Every cluster that has nodes, by name. Three statements."""
    words, backends = _words(tx), read_states(tx)
    members: dict[str, list[RowMapping]] = {}
    for node in _newest(tx):
        for queue in _queues(node):
            members.setdefault(queue, []).append(node)
    return [
        _cluster(queue, members[queue], _word_of(words, queue), backends.get(queue, UNTOUCHED))
        for queue in sorted(members)
    ]


def get_cluster(tx: Connection, *, name: str, binary: str) -> Cluster:
    """One cluster. Raises NotFound; there are clusters of `cinder-volume` only.

    By its name one whose backend has ever reported is found also while none of its nodes serves it: what was disabled must not
    stay so because nodes restart.
    """
    known = {cluster.name: cluster for cluster in list_clusters(tx)} if binary == VOLUME else {}
    if name in known:
        return known[name]
    if binary == VOLUME and (backend := read_states(tx).get(name)) is not None:
        return _cluster(name, [], _word_of(_words(tx), name), backend)
    raise NotFound(f"Cluster {name} could not be found.")


def _cluster(queue: str, members: list[RowMapping], word: Word, backend: BackendState) -> Cluster:
    return Cluster(
        name=queue,
        hosts=len(members),
        hosts_down=sum(node["state"] not in NODE_LIVE for node in members),
        word=word,
        created_at_us=min((node["started_at_us"] for node in members), default=None),
        updated_at_us=_latest([word.at_us, *(node["changed_at_us"] for node in members)]),
        heartbeat_at_us=_latest(node["renewed_at_us"] for node in members),
        backend=backend,
    )


def _newest(tx: Connection) -> list[RowMapping]:
    """The newest incarnation of each node, by cluster and name."""
    newest: dict[tuple[str, str], RowMapping] = {}
    in_order = select(nodes).order_by(nodes.c.cluster, nodes.c.name, nodes.c.started_at_us, nodes.c.incarnation)
    rows = tx.execute(in_order).mappings().all()
    # A clock that was set back makes a dead incarnation look newer: one that lives comes last, whatever the clocks say.
    for row in sorted(rows, key=lambda row: bool(row["state"] in NODE_LIVE)):
        newest[row["cluster"], row["name"]] = row
    return [newest[key] for key in sorted(newest)]


def _words(tx: Connection) -> dict[tuple[str, str], Word]:
    return {
        (row["binary"], row["host"]): Word(row["disabled"], row["disabled_reason"], row["updated_at_us"])
        for row in tx.execute(select(services)).mappings()
    }


def _word_of(words: Mapping[tuple[str, str], Word], queue: str) -> Word:
    """What holds for a cluster: an operator's word that disables it, else its backend's, else that there is none."""
    said, own = words.get((CLUSTER, queue), Word()), words.get((BACKEND, queue), Word())
    return own if own.disabled and not said.disabled else said


def _queues(node: Mapping[str, Any] | RowMapping) -> list[str]:
    queues: list[str] = json.loads(node["queues_json"])
    return sorted(queues)


def _host(node_name: str, queue: str) -> str:
    return f"{node_name}@{queue.rpartition('@')[2]}"


def _latest(instants: Iterable[int | None]) -> int | None:
    return max((instant for instant in instants if instant is not None), default=None)


# --- the operator's word ----------------------------------------------------------------------------------------------


def set_service(
    tx: Connection,
    *,
    binary: str,
    host: str,
    disabled: bool,
    reason: str | None,
    own_cluster: str,
    origin: Origin,
) -> None:
    """Disable or enable one service. A queue takes no new volumes while all of its services are disabled.

    Raises NotFound when there is no such service.
    """
    for service in list_services(tx, own_cluster=own_cluster, default_zone="", with_backups=True):
        if (service.binary, service.host) == (binary, host):
            if service.queue is not None:
                lock_backend(tx, service.queue)
            _say(tx, binary=binary, host=host, word=Word(disabled, reason, origin.at_us))
            if service.queue is not None:
                apply_words(tx, service.queue)
            return
    raise NotFound(f"Service {binary} could not be found on host {host}.")


def set_cluster(
    tx: Connection, *, name: str, binary: str, disabled: bool, reason: str | None, origin: Origin
) -> Cluster:
    """Disable or enable a whole cluster: its pools take no new volumes while it is disabled. Raises NotFound.

    Who enables it wants it so, whatever its backend's state is.
    """
    get_cluster(tx, name=name, binary=binary)
    lock_backend(tx, name)
    _say(tx, binary=CLUSTER, host=name, word=Word(disabled, reason, origin.at_us))
    if not disabled:
        _say(tx, binary=BACKEND, host=name, word=Word(at_us=origin.at_us))
    apply_words(tx, name)
    return get_cluster(tx, name=name, binary=binary)


def obey_backend(tx: Connection, *, queue: str, reason: str | None, at_us: int) -> None:
    """Disable a cluster for its backend's state, or with no reason lift that; what an operator said stays apart from it.

    The caller holds the backend's row.
    """
    own = _words(tx).get((BACKEND, queue), Word())
    if (own.disabled, own.reason) != (reason is not None, reason):
        _say(tx, binary=BACKEND, host=queue, word=Word(reason is not None, reason, at_us))
        apply_words(tx, queue)


def is_enabled(tx: Connection, *, queue: str) -> bool:
    """Whether a queue may take new volumes, as far as operators said. A first report of a pool asks this."""
    if _word_of(_words(tx), queue).disabled:
        return False
    of_queue = [one for one in list_services(tx, own_cluster="", default_zone="") if one.queue == queue]
    return not of_queue or not all(one.word.disabled for one in of_queue)


def apply_words(tx: Connection, queue: str) -> None:
    """Let the pools of a queue obey. The caller holds the backend's row: two operators who disable one service each meet
    there, and so does the first report of a pool, which no update of the pools would find.

    A worker asks for the same when it starts: its service may be the only one that nobody has disabled, or the first one.
    A report that was measuring meanwhile is lost (`report_seq`), and the next one is not.
    """
    of_queue = pools.c.queue == queue
    tx.execute(update(pools).where(of_queue).values(report_seq=pools.c.report_seq + 1))
    tx.execute(update(pools).where(of_queue).values(enabled=is_enabled(tx, queue=queue)))


def _say(tx: Connection, *, binary: str, host: str, word: Word) -> None:
    """Two first words at once meet at the primary key, and one runs again."""
    values = {"disabled": word.disabled, "disabled_reason": word.reason, "updated_at_us": word.at_us}
    said = update(services).where(services.c.binary == binary, services.c.host == host).values(**values)
    if tx.execute(said).rowcount == 0:
        tx.execute(insert(services).values(binary=binary, host=host, **values))
