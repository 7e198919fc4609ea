"""What most requests of a run are about.

Most runs have no theme: everything is asked for, and whatever meets, meets. Some of what must not go wrong needs a meeting
of many: backups that share what they consist of, of which some are made, slowly, while others are deleted and what nobody
needs any more is collected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

__all__ = ["ANYTHING", "BACKUPS", "MOVES", "THEMES", "Theme", "draw_theme"]

# The share of runs that are about backups, of those about moves, and of those about groups.
SHARE: Final = 0.15
OF_MOVES: Final = 0.1
OF_GROUPS: Final = 0.08


@dataclass(frozen=True)
class Theme:
    """Where there are several of something, one is drawn for the run."""

    name: str
    weights: Mapping[str, float] = field(default_factory=dict)
    """How often kinds of requests are drawn, in place of the usual."""
    others: float = 1.0
    """How much of the usual weight all others have."""
    requests: Sequence[int] = (25, 50, 90)
    pauses_s: Sequence[float] = (0.06, 0.2, 0.4)
    """How long a client waits between two requests, on the average."""
    projects: int = 2
    quota: Mapping[str, int] = field(default_factory=dict)
    guest_pause_s: float = 0.3
    """How long somebody who has a volume attached waits between two writes, on the average."""
    upkeep_s: Sequence[float] = (2.0, 5.0)
    """How often workers look what else there is to do: garbage is collected within a run."""
    collect_after_s: Sequence[float] = (0.5, 3.0, 60.0)
    """When an archive is looked through after something has ended: while much is going on, or when it is over."""
    pack_bytes: Sequence[int] = (150, 600, 256 * 1024)
    """Of a block with a guest's mark some hundred bytes are left: so there are several packs of a few blocks, or one."""
    store_pace_s: Sequence[float] = ()
    """How far away from the store of backups a process is; as far as from other storage if nothing is said here."""
    lasts_s: Sequence[float] = (8.0, 20.0)
    """For how long something may go wrong."""
    slots: Sequence[int] = (1, 2, 8)
    """How many operations a node runs at a time."""
    backends: Sequence[int] = (1, 1, 2)


ANYTHING: Final = Theme("anything")
# One archive, whose few volumes hardly change: nearly all that a backup needs is in packs of others.
BACKUPS: Final = Theme(
    "backups",
    weights={
        "create_volume": 0.5,
        "create_snapshot": 4.0,
        "create_backup": 8.0,
        "create_backup_of_snapshot": 24.0,
        "delete_backup": 30.0,
        "force_delete_backup": 0.3,
        "restore": 3.0,
        "create_from_backup": 3.0,
        "reset_backup_status": 0.3,
        "edit_backup": 1.0,
        "show_backup": 1.0,
        "thaw": 2.0,
        "fence_by_hand": 20.0,
    },
    others=0.05,
    requests=(60, 90),
    pauses_s=(0.3, 0.6),
    projects=1,
    quota={"backups": 8, "backup_gigabytes": 24},
    guest_pause_s=1.0,
    upkeep_s=(0.3, 1.0),
    collect_after_s=(0.1, 0.5, 2.0),
    pack_bytes=(150, 600),
    # Some are slow to make a backup, and others quick to collect meanwhile.
    store_pace_s=(0.01, 0.02, 0.4, 1.5),
    lasts_s=(10.0, 14.0),
    slots=(8,),
)
# Volumes that go to and fro between two backends, with what keeps them from it and what ends it.
MOVES: Final = Theme(
    "moves",
    weights={
        "create_volume": 6.0,
        "create_from_volume": 3.0,
        "create_backup": 3.0,
        "migrate": 30.0,
        "end_migration": 8.0,
        "retype": 8.0,
        "extend": 3.0,
        "force_delete": 3.0,
        "reset_status": 3.0,
        "delete_volume": 2.0,
    },
    others=0.2,
    pauses_s=(0.06, 0.2),
    upkeep_s=(0.5, 2.0),
    slots=(2, 8),
    backends=(2,),
)
# Few groups of few volumes, of which all are copied, taken, joined and deleted together, while each is asked for alone as well.
GROUPS: Final = Theme(
    "groups",
    weights={
        "create_volume": 1.0,
        "create_group": 3.0,
        "create_in_group": 12.0,
        "change_group": 4.0,
        "create_group_snapshot": 12.0,
        "create_from_group": 8.0,
        "create_from_group_snapshot": 10.0,
        "delete_group": 9.0,
        "delete_group_snapshot": 12.0,
        "reset_group_status": 0.6,
        "reset_group_snapshot_status": 0.8,
        "change_group_type": 1.0,
        "thaw": 2.0,
        "fence_by_hand": 20.0,
    },
    others=0.3,
    requests=(50, 90),
    quota={"volumes": 14, "snapshots": 14, "gigabytes": 60, "groups": 5},
)
THEMES: Final = {one.name: one for one in (ANYTHING, BACKUPS, MOVES, GROUPS)}


def draw_theme(random: Random) -> Theme:
    """That of a run."""
    drawn = random.random()
    for theme, share in ((BACKUPS, SHARE), (MOVES, OF_MOVES), (GROUPS, OF_GROUPS)):
        if drawn < share:
            return theme
        drawn -= share
    return ANYTHING
