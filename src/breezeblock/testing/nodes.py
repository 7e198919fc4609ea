"""What the nodes of a simulation are drawn to be: how they go about their work, and what their release knows of."""

from collections.abc import Mapping
from random import Random
from typing import Final

from breezeblock.node.identity import Limits
from breezeblock.protocol.steps import Operation
from breezeblock.testing.themes import Theme
from breezeblock.work.catalogue import CATALOGUE

__all__ = ["draw_limits", "kinds_of"]

# Kinds that the release before did not know: its nodes leave them to the others.
NEW_KINDS: Final = (
    *("revert_volume", "retype_volume", "create_backup", "delete_backup", "restore_backup", "create_from_backup"),
    *("import_backup", "collect_garbage", "migrate_volume", "drop_strays"),
    *("connect_attachment", "disconnect_attachments"),
)


def draw_limits(random: Random, theme: Theme) -> Limits:
    """Those of all nodes of a run."""
    poison, upkeep_s = random.choice((3, 5)), random.choice(theme.upkeep_s)
    return Limits(poll_s=1.0, poison_limit=poison, park_after_s=60.0, upkeep_s=upkeep_s)


def kinds_of(*, is_old: bool) -> Mapping[str, Operation]:
    """What a node runs, of this release or of the one before."""
    return {kind: one for kind, one in CATALOGUE.items() if not is_old or kind not in NEW_KINDS}
