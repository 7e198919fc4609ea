"""Which keys the answers about volume transfers have, and since which minor version."""

SUMMARY = {"id": 0, "name": 0, "volume_id": 0, "links": 0}
DETAIL = {
    **SUMMARY,
    "created_at": 0,
    "no_snapshots": 55,
    "source_project_id": 57,
    "destination_project_id": 57,
    "accepted": 57,
}
CREATED = {**DETAIL, "auth_key": 0}


def keys(table: dict[str, int], minor: int) -> set[str]:
    """The keys of an answer in version 3.`minor`."""
    return {key for key, since in table.items() if since <= minor}
