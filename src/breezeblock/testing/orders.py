"""What operators of a simulation ask for: clusters, hosts, backends, lost nodes, volume types and quotas.

What they freeze or disable is thawed and enabled again by `put_right`, when the faults have stopped, and what a failed failover
has left is failed over again.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from breezeblock.env.contract import Env
from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import Incarnation, TypeId
from breezeblock.model.origin import Origin
from breezeblock.protocol import membership
from breezeblock.protocol.node_events import Note
from breezeblock.resources import backend_changes, backends, cleanup, messages, node_checks, quota_sets, services, types
from breezeblock.store import tables
from breezeblock.testing.aims import Aims
from breezeblock.testing.call import Call
from breezeblock.testing.cluster import CLUSTER, Cluster, queue_of

__all__ = ["GOLD", "PROJECTS", "QUOTA", "Orders", "prepare", "put_right"]

PROJECTS: Final = ("red", "blue")
QUOTA: Final = {"volumes": 6, "snapshots": 6, "gigabytes": 40, "backups": 4, "backup_gigabytes": 12, "groups": 4}
GOLD: Final = "22222222-2222-4222-8222-222222222222"
# What types are called, and renamed to: few names, so that they are taken, and free again.
NAMES: Final = ("gold", "golden", "silver")
TYPES_MOST: Final = 3
_UNFENCED: Final = "SELECT incarnation FROM nodes WHERE state IN ('up', 'draining', 'expired') ORDER BY incarnation"
_MESSAGES: Final = "SELECT id, project_id FROM messages ORDER BY created_at_us DESC, id LIMIT 4"
_TYPES: Final = "SELECT id FROM volume_types ORDER BY created_at_us, id"
_DISABLED: Final = "SELECT binary, host FROM services WHERE disabled ORDER BY binary, host"
_UP: Final = "SELECT DISTINCT name FROM nodes WHERE state = 'up' ORDER BY name"
_NODES: Final = "SELECT DISTINCT name FROM nodes ORDER BY name"
_FROZEN: Final = "SELECT queue FROM backends WHERE frozen ORDER BY queue"


def prepare(tx: Connection, *, at_us: int) -> None:
    """A second volume type, for retypes."""
    tx.execute(insert(tables.volume_types).values(id=GOLD, name=NAMES[0], op_seq=0, created_at_us=at_us))


class Orders:
    """Draws what operators ask for."""

    def __init__(self, random: Random, aims: Aims, cluster: Cluster) -> None:
        self._random = random
        self._aims = aims
        self._cluster = cluster
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "switch_cluster": self._switch_cluster,
            "switch_service": self._switch_service,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "failover": self._failover,
            "clean_up": self._clean_up,
            "check_node": self._check_node,
            "fence_by_hand": self._fence_by_hand,
            "make_type": self._make_type,
            "change_type": self._change_type,
            "delete_type": self._delete_type,
            "change_quota": self._change_quota,
            "delete_message": self._delete_message,
        }

    def known_type(self) -> str:
        """One of the types that there are, by its id."""
        return self._random.choice(self._aims.all(_TYPES))[0]

    def _queue(self) -> str:
        return queue_of(self._random.choice(self._cluster.backends))

    # --- clusters, hosts, backends ------------------------------------------------------------------------------------

    def _switch_cluster(self, env: Env) -> Call:
        """What is disabled is soon enabled again: little is accepted meanwhile."""
        disabled = [host for binary, host in self._aims.all(_DISABLED) if binary == services.CLUSTER]
        name = self._random.choice(disabled) if disabled and self._aims.is_aimed else self._queue()
        wanted = name not in disabled and self._random.random() < 0.4
        said = {"name": name, "binary": services.VOLUME, "disabled": wanted, "reason": None}
        return Call("switch_cluster", services.set_cluster, name, said, admin=True)

    def _switch_service(self, env: Env) -> Call:
        """Of a host that there is, mostly."""
        disabled = [host for binary, host in self._aims.all(_DISABLED) if binary == services.VOLUME]
        if disabled and self._aims.is_aimed:
            host, wanted = self._random.choice(disabled), False
        else:
            rows = self._aims.all(_UP) or [("node9",)]
            host = f"{self._random.choice(rows)[0]}@{self._random.choice(self._cluster.backends)}"
            wanted = self._random.random() < 0.6
        said = {"binary": services.VOLUME, "host": host, "disabled": wanted, "reason": "drill"}
        return Call("switch_service", services.set_service, host, {**said, "own_cluster": CLUSTER}, admin=True)

    def _freeze(self, env: Env) -> Call | None:
        """One backend at a time, mostly."""
        if self._aims.all(_FROZEN) and self._aims.is_aimed:
            return None
        name = self._queue()
        return Call("freeze", backend_changes.freeze, name, {"host": None, "cluster": name}, admin=True)

    def _thaw(self, env: Env) -> Call | None:
        frozen = [queue for (queue,) in self._aims.all(_FROZEN)]
        if not frozen and self._random.random() < 0.95:
            return None
        name = self._random.choice(frozen or [self._queue()])
        return Call("thaw", backend_changes.thaw, name, {"host": None, "cluster": name}, admin=True)

    def _failover(self, env: Env) -> Call | None:
        if not self._cluster.arrays:
            return None
        name = queue_of(self._random.choice(tuple(self._cluster.arrays)))
        target = self._random.choice((None, "default", "secondary"))
        said = {"host": None, "cluster": name, "target": target}
        return Call("failover", backend_changes.begin_failover, name, said, admin=True)

    # --- lost nodes ---------------------------------------------------------------------------------------------------

    def _clean_up(self, env: Env) -> Call:
        wanted = cleanup.Wanted(
            cluster_name=self._random.choice((None, CLUSTER, self._queue())),
            binary=self._random.choice((None, services.VOLUME)),
            is_up=self._random.choice((None, True, False, False)),
        )
        said: dict[str, Any] = {"wanted": wanted, "own_cluster": CLUSTER, "now_us": env.clock.now_us()}
        return Call("clean_up", cleanup.clean_up, CLUSTER, said, admin=True, signed=False)

    def _check_node(self, env: Env) -> Call:
        """Work for one node: one that is up, mostly, or was there once."""
        rows = self._aims.all(_UP if self._aims.is_aimed else _NODES) or [("node9",)]
        name = self._random.choice(rows)[0]
        return Call("check_node", node_checks.begin_check, name, {"cluster": CLUSTER, "node": name}, admin=True)

    def _fence_by_hand(self, env: Env) -> Call | None:
        """An operator gives their word only for what is true: all of the node is dead, and its last write has landed."""
        dead = [one for (one,) in self._aims.all(_UNFENCED) if self._is_dead(one)]
        if not dead:
            return None
        one = self._random.choice(dead)
        self._cluster.on_forced(one)
        said: dict[str, Any] = {"incarnation": Incarnation(one), "note": Note.of(env, "ann")}
        return Call("fence_by_hand", membership.confirm_fenced, one, said, admin=True, signed=False)

    def _is_dead(self, incarnation: str) -> bool:
        node = self._cluster.nodes[incarnation]
        alive = node.keeper.alive or (node.worker is not None and node.worker.alive)
        return not alive and not self._cluster.locks.calls_under_way(node.lock_path)

    # --- types, quotas, messages --------------------------------------------------------------------------------------

    def _make_type(self, env: Env) -> Call | None:
        if len(self._aims.all(_TYPES)) > TYPES_MOST:
            return None
        id_ = env.ids.uuid()
        said: dict[str, Any] = {
            "type_id": TypeId(id_),
            "name": self._random.choice(NAMES),
            "description": None,
            "is_public": self._random.random() < 0.7,
            "extra_specs": {},
        }
        return Call("make_type", types.create_type, id_, said, table="volume_types", admin=True)

    def _change_type(self, env: Env) -> Call:
        """Its name, whom it is for, or what it asks of its pool; in use or not."""
        id_, project = self.known_type(), self._random.choice(PROJECTS)
        name = self._random.choice((None, *NAMES))
        fields = {"name": name, "description": "changed", "is_public": self._random.choice((None, None, True, False))}
        changes: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = (
            (types.update_type, fields),
            (types.update_type, fields),
            (types.set_extra_specs, {"specs": {"storage_protocol": self._random.choice(("file", "array"))}}),
            (types.delete_extra_spec, {"key": "storage_protocol"}),
            (types.add_access, {"project_id": project}),
            (types.remove_access, {"project_id": project}),
        )
        f, said = self._random.choice(changes)
        return Call("change_type", f, id_, {"type_id": id_, **said}, table="volume_types", admin=True)

    def _delete_type(self, env: Env) -> Call:
        id_ = self.known_type()
        return Call("delete_type", types.delete_type, id_, {"type_id": id_}, table="volume_types", admin=True)

    def _change_quota(self, env: Env) -> Call:
        """Around what projects have: some limits are below it."""
        random, project = self._random, self._random.choice(PROJECTS)
        limits = random.choice(
            (
                {"volumes": random.randint(4, 9)},
                {"snapshots": random.randint(4, 9)},
                {"gigabytes": random.randint(20, 60)},
                {"per_volume_gigabytes": random.randint(3, 6)},
                {f"volumes_{random.choice(NAMES)}": random.randint(2, 6)},
            )
        )
        fate = random.random()
        if fate < 0.3:
            return Call("change_quota", quota_sets.reset, project, {"project_id": project}, admin=True, signed=False)
        said: dict[str, Any] = {"limits": limits, "quota_defaults": QUOTA}
        if fate < 0.5:
            return Call("change_quota", _update_class, project, said, admin=True, signed=False)
        said |= {"project_id": project, "below_usage": random.random() < 0.3}
        return Call("change_quota", _update_quota, project, said, admin=True, signed=False)

    def _delete_message(self, env: Env) -> Call | None:
        found = self._aims.all(_MESSAGES)
        if not found:
            return None
        id_ = self._random.choice(found)[0]
        return Call("delete_message", messages.delete_message, id_, {"message_id": id_}, admin=True)


def _update_quota(tx: Connection, *, quota_defaults: dict[str, int], **said: Any) -> None:
    quota_sets.update(tx, defaults=quota_defaults, **said)


def _update_class(tx: Connection, *, quota_defaults: dict[str, int], limits: dict[str, int]) -> None:
    quota_sets.update_class(tx, class_name="default", limits=limits, defaults=quota_defaults)


def put_right(tx: Connection, *, as_operator: Callable[[], Origin]) -> None:
    """Thaw what is frozen, enable what an operator has disabled, and ask again for the side in use where a failover failed.

    What is failed over stays so. A failover that failed may have been done already: until the next one the array takes no
    effects on the side that the service knows, and what is left of migrations cannot be removed.
    """
    for queue, state in backends.read_states(tx).items():
        if state.frozen:
            backend_changes.thaw(tx, host=None, cluster=queue, origin=as_operator())
        if state.replication_status == states.REPLICATION_ERROR:
            target = state.active_backend_id or backends.DEFAULT_TARGET
            with suppress(InvalidState):  # its nodes are only just starting: next time
                backend_changes.begin_failover(tx, host=None, cluster=queue, target=target, origin=as_operator())
    words = tx.execute(select(tables.services).where(tables.services.c.disabled).order_by(tables.services.c.host)).all()
    there = {(one.binary, one.host) for one in services.list_services(tx, own_cluster=CLUSTER, default_zone="")}
    for word in words:
        if word.binary == services.CLUSTER:
            said = {"name": word.host, "binary": services.VOLUME, "disabled": False, "reason": None}
            services.set_cluster(tx, **said, origin=as_operator())
        elif (word.binary, word.host) in there:  # its node may have gone, and come back under another name
            said = {"binary": word.binary, "host": word.host, "disabled": False, "reason": None}
            services.set_service(tx, **said, own_cluster=CLUSTER, origin=as_operator())
