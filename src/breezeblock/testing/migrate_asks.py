"""What clients of a simulation ask for moves between backends. Everything else that they ask for is in `asks.py`."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import VolumeId
from breezeblock.resources import migrations, volume_changes
from breezeblock.testing.aims import Aims
from breezeblock.testing.call import Call
from breezeblock.testing.cluster import Cluster, queue_of

__all__ = ["CALLS", "MigrateAsks"]

CALLS: Final = {"migrate": 9.0, "end_migration": 2.0}


class MigrateAsks:
    """Draws requests, where there are two backends. `any_volume` is one that was asked for, whatever became of it."""

    def __init__(self, random: Random, aims: Aims, cluster: Cluster, any_volume: Callable[[], str | None]) -> None:
        self._random = random
        self._aims = aims
        self._cluster = cluster
        self._any_volume = any_volume
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "migrate": self._migrate,
            "end_migration": self._end_migration,
        }

    def _migrate(self, env: Env) -> Call | None:
        """To a backend, mostly another one than its own."""
        backends = self._cluster.backends
        if len(backends) < 2:
            return None
        found = self._aims.one("movable") if self._aims.is_aimed else None
        volume, pool = found or (self._any_volume(), "")
        if volume is None:
            return None
        others = [name for name in backends if queue_of(name) != pool.partition("#")[0]]
        queue = queue_of(self._random.choice(others if self._aims.is_aimed else backends))
        said = {"destination": queue, "lock_volume": self._random.random() < 0.5}
        return self._on(volume, "migrate", migrations.begin_migrate, said)

    def _end_migration(self, env: Env) -> Call | None:
        """Of one that moves, mostly."""
        found = self._aims.one("moving")
        volume = found[0] if found is not None else self._any_volume() if self._random.random() < 0.1 else None
        said = {"status": None, "attach_status": None, "migration_status": self._random.choice(("none", "error"))}
        return None if volume is None else self._on(volume, "end_migration", volume_changes.reset_status, said)

    @staticmethod
    def _on(volume: str, kind: str, f: Callable[..., Any], said: dict[str, Any]) -> Call:
        return Call(kind, f, volume, {"volume_id": VolumeId(volume), **said}, table="volumes", admin=True)
