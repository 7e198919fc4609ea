"""The word of a compute service that has made an attached volume larger on its side, where a backend waits for that.

Those are backends whose volumes only the client that has them open can extend. No driver here is one: each extends by itself,
and the operation ends without anybody's word. So there is nothing to complete, and the answer says why.
"""

from sqlalchemy import Connection

from breezeblock.model import states
from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import VolumeId
from breezeblock.model.origin import Origin
from breezeblock.store.tables import volumes
from breezeblock.store.transitions import lock_row, read_row


def complete(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> None:
    """Refuse to end an extension that waits for nobody. Raises NotFound, InvalidState."""
    lock_row(tx, volumes, volume_id, origin=origin)
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "a locked row is there"
    if row["status"] != states.EXTENDING:
        raise InvalidState(f"Volume {volume_id} has status {row['status']}; it is not being extended.")
    raise InvalidState(
        f"Volume {volume_id} is being extended by its backend, which waits for no completion; it ends by itself."
    )
