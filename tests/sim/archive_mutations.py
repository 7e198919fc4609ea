"""Mutations of what keeps backups whole: the rules of `protocol/archives.py` that `models/archive.pml` takes away, and more."""

from typing import Any, Final

import pytest
from sqlalchemy import Connection, false, literal, select, update

from breezeblock.protocol import archives
from breezeblock.protocol.archives import CONDEMNED, DOOMED
from breezeblock.store.tables import packs

Patch = pytest.MonkeyPatch

_turn: Final = archives._turn


def collections_that_see_no_pin(patch: Patch) -> None:
    """What was condemned is doomed, whoever may have seen it live and be about to name it."""
    patch.setattr(archives, "_OLDEST_PIN", select(literal(None)))


def garbage_in_one_step(patch: Patch) -> None:
    """What no manifest names is doomed at once."""

    def turn(tx: Connection, ids: Any, state: str, *, seq: int) -> None:
        _turn(tx, ids, DOOMED if state == CONDEMNED else state, seq=seq)

    patch.setattr(archives, "_turn", turn)


def packs_left_behind(patch: Patch) -> None:
    """A backup that is over keeps the packs that it has not published."""
    patch.setattr(archives, "_DOOM_OWN", update(packs).where(false()).values(state=DOOMED))


def manifests_that_go_first(patch: Patch) -> None:
    """A row names its manifest until it goes itself, though the manifest has gone before."""
    patch.setattr(archives, "unpublish", lambda tx, **_: None)
