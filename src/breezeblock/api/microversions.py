"""Microversions: which one a request speaks, and what each of them changed.

A client names its version in `OpenStack-API-Version: volume 3.60`; the header may name several services, separated by
commas, and a client that names none of ours speaks the oldest.
"""

import re
from typing import Final, NamedTuple

from starlette.datastructures import MutableHeaders

from breezeblock.api.errors import Refused

HEADER: Final = "OpenStack-API-Version"
SERVICE: Final = "volume"


class Version(NamedTuple):
    """A microversion; ordered, so that `call.microversion >= LIKE_FILTER` reads as it is meant."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST: Final = Version(3, 0)
NEWEST: Final = Version(3, 71)

# The versions that our code asks about, by name.
UPLOAD_SHARED: Final = Version(3, 1)
BOOTABLE_FILTER: Final = Version(3, 2)
MESSAGES: Final = Version(3, 3)
IMAGE_METADATA_FILTER: Final = Version(3, 4)
MESSAGES_PAGES: Final = Version(3, 5)
CG_BLANK_UPDATE: Final = Version(3, 6)
CLUSTERS: Final = Version(3, 7)
MANAGEABLE: Final = Version(3, 8)
BACKUP_UPDATE: Final = Version(3, 9)
GROUP_FILTER: Final = Version(3, 10)
GROUP_TYPES: Final = Version(3, 11)
VOLUME_SUMMARY: Final = Version(3, 12)
GROUP_OF_VOLUME: Final = Version(3, 13)
GROUP_SNAPSHOT_OF_SNAPSHOT: Final = Version(3, 14)
ETAGS: Final = Version(3, 15)
MIGRATE_CLUSTER: Final = Version(3, 16)
MANAGE_ON_CLUSTER: Final = Version(3, 16)
MANAGEABLE_ON_CLUSTER: Final = Version(3, 17)
BACKUP_PROJECT: Final = Version(3, 18)
GROUP_SNAPSHOT_RESET: Final = Version(3, 19)
GROUP_RESET: Final = Version(3, 20)
PROVIDER_ID: Final = Version(3, 21)
SNAPSHOT_METADATA_FILTER: Final = Version(3, 22)
DELETE_FORCE: Final = Version(3, 23)
CLEANUP: Final = Version(3, 24)
GROUP_VOLUMES: Final = Version(3, 25)
REPLICATION_CLUSTER: Final = Version(3, 26)
ATTACHMENTS: Final = Version(3, 27)
POOL_FILTER: Final = Version(3, 28)
GROUP_SNAPSHOT_PAGES: Final = Version(3, 29)
SNAPSHOT_SORT_NAME: Final = Version(3, 30)
RESOURCE_FILTERS: Final = Version(3, 31)
LOG_LEVELS: Final = Version(3, 32)
RESOURCE_FILTERS_LIST: Final = Version(3, 33)
LIKE_FILTER: Final = Version(3, 34)
POOL_TYPE_FILTER: Final = Version(3, 35)
SUMMARY_METADATA: Final = Version(3, 36)
BACKUP_SORT_NAME: Final = Version(3, 37)
GROUP_REPLICATION: Final = Version(3, 38)
LIMITS_PROJECT: Final = Version(3, 39)
REVERT: Final = Version(3, 40)
SNAPSHOT_USER: Final = Version(3, 41)
EXTEND_IN_USE: Final = Version(3, 42)
BACKUP_METADATA: Final = Version(3, 43)
ATTACH_COMPLETION: Final = Version(3, 44)
COUNT: Final = Version(3, 45)
CREATE_FROM_BACKUP: Final = Version(3, 47)
SHARED_TARGETS: Final = Version(3, 48)
BACKEND_STATE: Final = Version(3, 49)
BACKUP_ZONE: Final = Version(3, 51)
TYPE_EXTRA_SPECS_FILTER: Final = Version(3, 52)
STRICT_BODIES: Final = Version(3, 53)
ATTACH_MODE: Final = Version(3, 54)
TRANSFER_SNAPSHOTS: Final = Version(3, 55)
BACKUP_USER: Final = Version(3, 56)
TRANSFER_HISTORY: Final = Version(3, 57)
GROUP_PROJECT: Final = Version(3, 58)
TRANSFER_PAGES: Final = Version(3, 59)
TIME_FILTERS: Final = Version(3, 60)
CLUSTER_NAME: Final = Version(3, 61)
DEFAULT_TYPES: Final = Version(3, 62)
VOLUME_TYPE_ID: Final = Version(3, 63)
ENCRYPTION_KEY_ID: Final = Version(3, 64)
CONSUMES_QUOTA: Final = Version(3, 65)
SNAPSHOT_IN_USE: Final = Version(3, 66)
REIMAGE: Final = Version(3, 68)
SHARED_TARGETS_NULL: Final = Version(3, 69)
TRANSFER_ENCRYPTED: Final = Version(3, 70)
EXTEND_COMPLETION: Final = Version(3, 71)

# What each version brought, by its minor number; the reference page on microversions is made from this.
CHANGES: Final[dict[int, str]] = {
    0: "The first version.",
    1: "Uploading an image takes visibility and protected.",
    2: "Volumes are filtered by bootable, strictly true or false.",
    3: "User messages: list, show, delete.",
    4: "Volumes are filtered by their image metadata.",
    5: "User messages come in pages and can be sorted and filtered.",
    6: "Consistency groups may be updated to empty names and lists.",
    7: "Clusters: list, show, enable, disable; services show their cluster.",
    8: "What a backend holds can be listed before it is managed.",
    9: "Backups can be renamed.",
    10: "Volumes are filtered by group.",
    11: "Group types.",
    12: "A summary counts the volumes of a project and their size.",
    13: "Groups; volumes show their group.",
    14: "Group snapshots; snapshots show theirs.",
    15: "Volume metadata has ETags, and writes honour If-Match.",
    16: "A volume can be migrated to a cluster.",
    17: "A volume can be managed on a cluster.",
    18: "Backups show their project.",
    19: "The status of a group snapshot can be reset.",
    20: "The status of a group can be reset.",
    21: "Administrators see a volume's provider id.",
    22: "Snapshots are filtered by metadata.",
    23: "Deleting a volume takes force.",
    24: "What dead services left can be cleaned up on request.",
    25: "Groups are shown with their volumes.",
    26: "Clusters show replication and can fail over.",
    27: "Attachments as resources of their own.",
    28: "Pools are filtered by name.",
    29: "Groups and group snapshots come in pages.",
    30: "Snapshots are sorted by name.",
    31: "Filters are the same for all resources, and unknown ones are refused.",
    32: "Log levels are read and set while services run.",
    33: "The filters of each resource can be listed.",
    34: "Filters with a tilde (name~) match parts.",
    35: "Pools are filtered by volume type.",
    36: "The summary has the metadata of the volumes.",
    37: "Backups are sorted by name.",
    38: "Replication of groups.",
    39: "Administrators see the limits of other projects.",
    40: "A volume is reverted to its latest snapshot.",
    41: "Snapshots show their user.",
    42: "A volume in use is extended.",
    43: "Backups have metadata.",
    44: "Attachments are completed by a call of their own.",
    45: "Lists tell the number of all items (with_count).",
    46: "Volumes are made from images that point to snapshots.",
    47: "Volumes are made from backups.",
    48: "Volumes show shared_targets and service_uuid.",
    49: "Services show the state of their backend.",
    50: "Multiattach is a property of the volume type.",
    51: "Backups are made in an availability zone.",
    52: "Volume types are filtered by extra specs.",
    53: "Bodies of volume requests are checked strictly.",
    54: "Attachments take a mode.",
    55: "Transfers take snapshots along, or not.",
    56: "Backups show their user.",
    57: "Transfers show who gave and who took.",
    58: "Groups and group snapshots show their project.",
    59: "Transfers come in pages.",
    60: "Volumes are filtered by created_at and updated_at.",
    61: "Administrators see a volume's cluster.",
    62: "A project can have a default type.",
    63: "Volumes show the id of their type.",
    64: "Volumes and backups show the id of their encryption key.",
    65: "Volumes and snapshots tell whether they count against the quota.",
    66: "A snapshot of a volume in use needs no force.",
    67: "The project may be left out of URLs.",
    68: "A volume's content is replaced by an image.",
    69: "shared_targets may be null: not shared with anything.",
    70: "Encrypted volumes can be transferred.",
    71: "An extend of a volume in use is completed by the compute service.",
}

# Few digits: Python refuses to read a number of thousands of them.
_FORM = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\Z")


def negotiate(header: str | None) -> Version:
    """The version a request speaks. Raises Refused: 400 when it cannot be read, 406 when it is not ours."""
    wanted = _ours(header) if header else None
    if wanted is None:
        return OLDEST
    if wanted == "latest":
        return NEWEST
    form = _FORM.match(wanted)
    if form is None:
        raise Refused(400, f"API version {wanted!r} has the wrong form: expected MAJOR.MINOR, such as {NEWEST}.")
    version = Version(int(form[1]), int(form[2]))
    if not OLDEST <= version <= NEWEST:
        raise Refused(406, f"API version {version} is not served here: expected {OLDEST} to {NEWEST}.")
    return version


def _ours(header: str) -> str | None:
    for part in header.split(","):
        words = part.split()
        if words and words[0].lower() == SERVICE:
            return " ".join(words[1:])
    return None


def mark(headers: MutableHeaders, version: Version) -> None:
    """Tell the client, and caches between, which version was spoken."""
    headers[HEADER] = f"{SERVICE} {version}"
    headers["Vary"] = HEADER
