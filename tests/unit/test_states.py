"""Every declared status change, walked as data: the graph that the documentation draws."""

import re
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import ColumnElement, Table

from breezeblock.model import states
from breezeblock.resources import (
    attached,
    attachments,
    backups,
    connections,
    group_snapshots,
    group_sources,
    groups,
    managing,
    managing_snapshots,
    migrations,
    moves,
    old_attachments,
    restores,
    snapshots,
    targets,
    transfers,
    verifications,
    volume_changes,
    volumes,
)
from breezeblock.store import tables
from breezeblock.store.transitions import Must, Transition
from breezeblock.work.catalogue import CATALOGUE

MODULES: Final = (
    volumes,
    volume_changes,
    snapshots,
    backups,
    restores,
    targets,
    verifications,
    attached,
    attachments,
    connections,
    group_snapshots,
    group_sources,
    groups,
    transfers,
    migrations,
    moves,
    managing,
    managing_snapshots,
    old_attachments,
)
TRANSITIONS: Final = {
    value.name: value for module in MODULES for value in vars(module).values() if isinstance(value, Transition)
}
LONGEST_STATUS: Final = 32
every_transition = pytest.mark.parametrize("transition", TRANSITIONS.values(), ids=TRANSITIONS)

WORDS: Final = {value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)}
KNOWN: Final = {
    "volumes": WORDS | set(states.RESETTABLE_VOLUME),
    "snapshots": WORDS | set(states.RESETTABLE_SNAPSHOT),
    "backups": WORDS | set(states.RESETTABLE_BACKUP),
    "attachments": WORDS,
    "volume_groups": WORDS | set(states.RESETTABLE_GROUP),
    "group_snapshots": WORDS | set(states.RESETTABLE_GROUP),
}
# What ends each kind of operation on its resources: (table, status it works under) -> the transitions that leave it.
ENDS: Final[dict[str, dict[tuple[str, str], tuple[str, ...]]]] = {
    "create_volume": {("volumes", "creating"): ("volume.created", "volume.create_failed")},
    "delete_volume": {
        ("volumes", "deleting"): ("volume.delete_failed",),
        ("snapshots", "deleting"): ("snapshot.delete_failed",),
    },
    "extend_volume": {("volumes", "extending"): ("volume.extended", "volume.extend_failed")},
    "revert_volume": {
        ("volumes", "reverting"): ("volume.reverted", "volume.revert_failed"),
        ("snapshots", "restoring"): ("snapshot.restored",),
    },
    "retype_volume": {("volumes", "retyping"): ("volume.retyped",)},
    "connect_attachment": {("attachments", "attaching"): ("attachment.complete", "attachment.connect_failed")},
    "disconnect_attachments": {("attachments", "detaching"): ("attachment.disconnect_failed",)},
    "migrate_volume": {
        ("volumes", "retyping"): ("volume.retyped",)
    },  # or `maintenance`, where a volume may rest as well
    "drop_strays": {},  # it changes nothing that users see
    "create_snapshot": {("snapshots", "creating"): ("snapshot.created", "snapshot.create_failed")},
    "delete_snapshot": {("snapshots", "deleting"): ("snapshot.delete_failed",)},
    "create_backup": {
        ("backups", "creating"): ("backup.created", "backup.create_failed"),
        ("volumes", "backing-up"): ("volume.backed_up",),
    },
    "import_backup": {("backups", "creating"): ("backup.created", "backup.create_failed")},
    "import_cinder_backup": {("backups", "creating"): ("backup.created", "backup.create_failed")},
    "delete_backup": {("backups", "deleting"): ("backup.delete_failed",)},
    "restore_backup": {
        ("volumes", "restoring-backup"): ("volume.filled", "volume.replace_failed"),
        ("backups", "restoring"): ("backup.restored",),
    },
    "create_from_backup": {
        ("volumes", "restoring-backup"): ("volume.filled", "volume.fill_failed"),
        ("volumes", "creating"): ("volume.filled", "volume.fill_failed"),
        ("backups", "restoring"): ("backup.restored",),
    },
    "manage_volume": {("volumes", "managing"): ("volume.managed", "volume.manage_failed")},
    "unmanage_volume": {
        ("volumes", "unmanaging"): ("volume.unmanage_failed",),
        ("volumes", "error_managing_deleting"): ("volume.unmanage_failed",),
        ("volumes", "deleting"): ("volume.unmanage_failed",),
    },
    "manage_snapshot": {("snapshots", "creating"): ("snapshot.created", "snapshot.create_failed")},
    "unmanage_snapshot": {("snapshots", "unmanaging"): ("snapshot.unmanage_failed",)},
    "list_manageable": {},  # it changes nothing
    "failover_backend": {},  # it works under the status of a backend, which is no user's resource
    "delete_group": {
        ("volume_groups", "deleting"): ("volume_group.delete_failed",),
        ("volumes", "deleting"): ("volume.delete_failed",),
    },
    "create_group_snapshot": {
        ("group_snapshots", "creating"): ("group_snapshot.created", "group_snapshot.create_failed"),
        ("snapshots", "creating"): ("snapshot.created", "snapshot.create_failed"),
    },
    "delete_group_snapshot": {
        ("group_snapshots", "deleting"): ("group_snapshot.delete_failed",),
        ("snapshots", "deleting"): ("snapshot.delete_failed",),
    },
    "create_group_from_source": {
        ("volume_groups", "creating"): ("volume_group.created", "volume_group.create_failed"),
        ("volumes", "creating"): ("volume.created", "volume.create_failed"),
    },
    "check_node": {},  # it changes nothing
    "verify_backup": {},  # nor does it, but for what the backup says about itself
    "collect_garbage": {},  # nor does it, of what users see
    "run_backup_policy": {},  # nor does it: it asks for backups and deletions, which are operations of their own
}


@dataclass(frozen=True)
class Graph:
    """The moves of one table: who may go from where to where. `None` is any status."""

    moves: frozenset[tuple[str | None, str, str]]

    @classmethod
    def of(cls, table: str) -> "Graph":
        return cls(
            frozenset(
                (before, after, name)
                for name, transition in TRANSITIONS.items()
                for before, after in transition.moves
                if transition.table.name == table
            )
        )

    def ways_out_of(self, status: str) -> set[str]:
        """The transitions that may start at a status: those that name it, and those that start anywhere."""
        return {name for before, after, name in self.moves if before in (status, None) and after != status}

    def drawn(self) -> list[str]:
        """One line an arrow, as a diagram has them."""
        return sorted(f"{before or '*'} --> {after} : {name}" for before, after, name in self.moves)


def test_names_of_transitions_are_unique_and_say_whose_they_are() -> None:
    """`volume.extend` is a transition of volumes; two of one name would be one arrow in the diagram."""
    declared = [value for module in MODULES for value in vars(module).values() if isinstance(value, Transition)]

    assert len({id(value) for value in declared}) == len(TRANSITIONS)
    assert [name for name, value in TRANSITIONS.items() if f"{name.partition('.')[0]}s" != value.table.name] == []


@every_transition
def test_moves_use_words_that_are_known(transition: Transition) -> None:
    """A status that is only in one place is a typing mistake."""
    used = {status for move in transition.moves for status in move if status is not None}

    assert used <= KNOWN[transition.table.name]


@every_transition
def test_moves_say_what_the_sets_do(transition: Transition) -> None:
    """A constant status is the end of each move; a transition that sets none moves nothing."""
    status = transition.sets.get("status")
    ends = {after for _, after in transition.moves}

    assert bool(ends) == (status is not None)
    assert isinstance(status, ColumnElement | None) or ends == {status}


@every_transition
def test_moves_start_where_the_conditions_allow(transition: Transition) -> None:
    """The first status condition, read as text, names the starts and no others."""
    starts = {before for before, _ in transition.moves}
    texts = [str(must.condition.compile(compile_kwargs={"literal_binds": True})) for must in _literal(transition)]
    asked = {word for text in texts for word in re.findall(r"'([a-z_-]+)'", text)}

    assert not asked or not starts or starts == asked or transition.name == "snapshot.update_status"


def _literal(transition: Transition) -> list[Must]:
    own_status = f"{transition.table.name}.status"
    return [
        must for must in transition.musts if own_status in str(must.condition) and "EXISTS" not in str(must.condition)
    ]


@every_transition
def test_sets_name_columns_of_the_table(transition: Transition) -> None:
    """Nothing else can be written."""
    assert set(transition.sets) <= set(transition.table.c.keys())


@every_transition
def test_every_refusal_is_a_sentence_about_the_row(transition: Transition) -> None:
    """It can be filled from the row and the parameters alone, and ends as sentences do."""
    row = {column.name: "?" for column in transition.table.c} | {"size_gib_new": 2, "type_id": "t"}

    assert all(must.otherwise.format_map(row).endswith(".") for must in transition.musts)


def test_every_operation_has_its_ends_here() -> None:
    """A new kind says which status it works under."""
    assert set(ENDS) == set(CATALOGUE)


@pytest.mark.parametrize("kind", ENDS)
def test_an_operation_can_leave_the_status_that_it_works_under(kind: str) -> None:
    """Its closing transitions start there, each by name."""
    unable = [
        (status, name)
        for (table, status), names in ENDS[kind].items()
        for name in names
        if name not in Graph.of(table).ways_out_of(status)
    ]

    assert unable == []


@pytest.mark.parametrize(
    ("table", "transitional"),
    [
        ("volumes", states.VOLUME_TRANSITIONAL),
        ("snapshots", states.SNAPSHOT_TRANSITIONAL),
        ("backups", states.BACKUP_TRANSITIONAL),
        ("volume_groups", states.GROUP_TRANSITIONAL),
        ("group_snapshots", states.GROUP_TRANSITIONAL),
    ],
)
def test_every_transitional_status_is_some_operations_to_leave(table: str, transitional: frozenset[str]) -> None:
    """No status waits for nobody: each is named by an operation that ends in another one."""
    assert {status for ends in ENDS.values() for of, status in ends if of == table} == transitional


@pytest.mark.parametrize(
    ("table", "transitional"),
    [
        ("volumes", states.VOLUME_TRANSITIONAL),
        ("snapshots", states.SNAPSHOT_TRANSITIONAL),
        ("backups", states.BACKUP_TRANSITIONAL),
        ("volume_groups", states.GROUP_TRANSITIONAL),
        ("group_snapshots", states.GROUP_TRANSITIONAL),
    ],
)
def test_no_operation_ends_in_a_transitional_status(table: str, transitional: frozenset[str]) -> None:
    """What closes an operation leaves the resource at rest."""
    closing = {name for ends in ENDS.values() for (of, _), names in ends.items() if of == table for name in names}

    assert {after for _, after, name in Graph.of(table).moves if name in closing} & transitional == set()


@pytest.mark.parametrize(
    ("table", "status", "names"),
    [
        ("volumes", "available", {"volume.delete", "volume.extend", "volume.revert", "volume.retype"}),
        ("volumes", "error", {"volume.delete"}),
        ("volumes", "error_deleting", {"volume.delete"}),
        ("volumes", "error_extending", {"volume.delete"}),
        ("snapshots", "available", {"snapshot.delete", "snapshot.restore"}),
        ("snapshots", "error", {"snapshot.delete"}),
        ("snapshots", "error_deleting", {"snapshot.delete"}),
    ],
)
def test_users_can_go_on_from_a_status_at_rest(table: str, status: str, names: set[str]) -> None:
    """From every error there is at least the way to delete."""
    assert Graph.of(table).ways_out_of(status) >= names


def test_the_graph_can_be_drawn() -> None:
    """One arrow, as the page of states has it, and all arrows in one order."""
    drawn = Graph.of("volumes").drawn()

    assert "extending --> available : volume.extended" in drawn
    assert drawn == sorted(drawn)


@pytest.mark.parametrize("table", [tables.volumes, tables.snapshots], ids=lambda table: table.name)
def test_status_words_fit_their_column(table: Table) -> None:
    """A database that cuts or refuses longer ones would only show it in production."""
    assert max(len(word) for word in KNOWN[table.name]) <= LONGEST_STATUS
    assert str(table.c.status.type) == f"VARCHAR({LONGEST_STATUS})"
