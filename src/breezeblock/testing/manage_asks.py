"""What clients of a simulation ask about what is on storage already: volumes and snapshots go, and come back by their names."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import managing, managing_snapshots
from breezeblock.resources.manageable import Place
from breezeblock.testing.aims import HOT, Aims
from breezeblock.testing.call import Call

__all__ = ["CALLS", "ManageAsks"]

CALLS: Final = {
    "manage_volume": 5.0,
    "unmanage_volume": 1.5,
    "manage_snapshot": 4.0,
    "unmanage_snapshot": 2.0,
}


class ManageAsks:
    """Draws requests. `made` is told of each new resource: its id, and the volume of a snapshot."""

    def __init__(
        self, random: Random, aims: Aims, made: Callable[[str, str | None], None], quota: Mapping[str, int]
    ) -> None:
        self._random = random
        self._aims = aims
        self._made = made
        self._quota = quota
        self._released: list[str] = []
        """Names that something may have on storage, since somebody asked to let it go."""
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "manage_volume": self._manage_volume,
            "unmanage_volume": self._unmanage_volume,
            "manage_snapshot": self._manage_snapshot,
            "unmanage_snapshot": self._unmanage_snapshot,
        }

    def _manage_volume(self, env: Env) -> Call | None:
        """Two may ask for the same name."""
        pools = self._aims.all("SELECT name FROM pools ORDER BY 1")
        if not self._released or not pools:
            return None
        id_ = env.ids.uuid()
        self._made(id_, None)
        wanted = managing.ToManage(
            volume=NewVolume(id=VolumeId(id_)),
            place=Place(host=self._random.choice(pools)[0]),
            reference=self._random.choice(self._released[-HOT:]),
        )
        said = {"wanted": wanted, "quota_defaults": self._quota}
        return Call("create_by_managing", managing.begin_manage, id_, said, table="volumes", admin=True)

    def _unmanage_volume(self, env: Env) -> Call | None:
        if (found := self._aims.one("disposable")) is None:
            return None
        self._released.append(managing.RELEASED_AS.format(found[0]))
        said = {"volume_id": VolumeId(found[0])}
        return Call("unmanage_volume", managing.begin_unmanage, found[0], said, table="volumes", admin=True)

    def _manage_snapshot(self, env: Env) -> Call | None:
        found = self._aims.one("usable")
        if not self._released or found is None:
            return None
        id_ = env.ids.uuid()
        self._made(id_, found[0])
        said = {
            "wanted": NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(found[0])),
            "reference": self._random.choice(self._released[-HOT:]),
            "quota_defaults": self._quota,
        }
        return Call(
            "create_snapshot_by_managing", managing_snapshots.begin_manage, id_, said, table="snapshots", admin=True
        )

    def _unmanage_snapshot(self, env: Env) -> Call | None:
        if (found := self._aims.one("spare")) is None:
            return None
        self._released.append(managing_snapshots.RELEASED_AS.format(found[0]))
        said = {"snapshot_id": SnapshotId(found[0])}
        return Call(
            "unmanage_snapshot", managing_snapshots.begin_unmanage, found[0], said, table="snapshots", admin=True
        )
