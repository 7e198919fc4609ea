"""The ids of user messages, written down once more as Cinder has them."""

import pytest

from breezeblock.resources.message_ids import EVENTS, event_id, resource_type
from breezeblock.work.catalogue import CATALOGUE

# What users ask for that Cinder leaves no message about, and what nobody's resource waits for.
OURS = {
    "delete_volume", "revert_volume", "retype_volume", "import_backup", "import_cinder_backup", "failover_backend",
    "check_node", "verify_backup", "collect_garbage", "run_backup_policy",
    # Of attachments and unmanaging Cinder's messages tell only that a driver was not ready, or that a volume was encrypted.
    "connect_attachment", "disconnect_attachments", "unmanage_volume", "unmanage_snapshot",
    # Of these it tells in the status, its logs and notifications alone.
    "manage_volume", "manage_snapshot", "list_manageable", "migrate_volume", "drop_strays",
    "create_group_from_source", "delete_group", "create_group_snapshot", "delete_group_snapshot",
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "noun", "refused", "expected"),
    [
        ("schedule_allocate_volume", "volume", True, "VOLUME_VOLUME_001_003"),
        ("create_volume", "volume", False, "VOLUME_VOLUME_008_012"),
        ("extend_volume", "volume", False, "VOLUME_VOLUME_007_010"),
        ("extend_volume", "volume", True, "VOLUME_VOLUME_007_003"),
        ("create_snapshot", "snapshot", False, "VOLUME_VOLUME_SNAPSHOT_009_013"),
        ("delete_snapshot", "snapshot", False, "VOLUME_VOLUME_SNAPSHOT_010_016"),
        ("create_backup", "backup", False, "VOLUME_VOLUME_BACKUP_013_020"),
        ("delete_backup", "backup", False, "VOLUME_VOLUME_BACKUP_014_025"),
        ("restore_backup", "backup", False, "VOLUME_VOLUME_BACKUP_015_026"),
        ("retype", "volume", False, "retype"),
    ],
)
def test_events_have_the_ids_that_clients_know(event: str, noun: str, refused: bool, expected: str) -> None:
    assert event_id(event, noun=noun, refused=refused) == expected


def test_resources_have_the_types_that_clients_know() -> None:
    assert [resource_type(noun) for noun in ("volume", "snapshot", "backup")] == [
        "VOLUME",
        "VOLUME_SNAPSHOT",
        "VOLUME_BACKUP",
    ]


def test_every_operation_has_an_id_or_is_known_to_have_none() -> None:
    """A new one is looked up in Cinder's list before it gets a word of its own."""
    assert CATALOGUE.keys() - EVENTS.keys() == OURS
    assert len(set(EVENTS.values())) == len(EVENTS) - 1  # a volume made from a backup is a restore, too
