"""The ids that travel between layers, as types of their own, so that two of them cannot be swapped unseen.

All ids are lower-case UUID text, except project and user ids, which an identity service chooses.
"""

import re
from typing import NewType

VolumeId = NewType("VolumeId", str)
SnapshotId = NewType("SnapshotId", str)
BackupId = NewType("BackupId", str)
AttachmentId = NewType("AttachmentId", str)
TypeId = NewType("TypeId", str)
TransferId = NewType("TransferId", str)
MessageId = NewType("MessageId", str)
OperationId = NewType("OperationId", str)
Incarnation = NewType("Incarnation", str)
ProjectId = NewType("ProjectId", str)
UserId = NewType("UserId", str)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_UUID_LOOSE = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in any of the spellings that the API accepts (dashes and case do not matter)."""
    return _UUID_LOOSE.match(text) is not None


def is_canonical_uuid(text: str) -> bool:
    """Whether `text` is spelled as we store ids: lower case, with dashes. Only these ever become file names."""
    return _UUID.match(text) is not None
