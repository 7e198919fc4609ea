"""Connecting hosts to volumes and disconnecting them, as steps."""

from typing import Any, Final

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol.steps import Operation
from breezeblock.resources import connections
from breezeblock.store import tables
from breezeblock.work.tools import Working, object_of

__all__ = ["CONNECT_ATTACHMENT", "DISCONNECT_ATTACHMENTS", "drop_accesses"]

# A storage that is away for a moment is waited for by a disconnection: so long, with pauses that grow up to the longest. A node
# that is lost or drained meanwhile begins the waiting anew elsewhere.
PATIENCE_S: Final = 30.0
PAUSE_FIRST_S: Final = 0.5
PAUSE_MOST_S: Final = 5.0


async def make_access(run: Working) -> None:
    """Let the host reach the volume's object, and take back what an earlier connection of this attachment has made.

    What is made carries our token. So a repeat makes its own, whatever an earlier claim has made goes, and what that one may
    still do late makes nothing that a disconnection behind us would leave.
    """
    wanted: connections.ConnectAttachment = run.payload
    name = await object_of(run, tables.volumes, wanted.volume_id)
    seq, epoch = run.claim.token(wanted.attachment_id)
    access = ObjectName(wanted.attachment_id, seq, epoch)
    given = await run.tools.driver.connect(name, access, connector=wanted.connector, mode=wanted.mode)
    for other in await run.tools.driver.accesses(wanted.attachment_id):
        if (other.seq, other.epoch) < (seq, epoch):
            await run.tools.driver.disconnect(other)
    run.state["connection"] = _connection(given, wanted)


def _connection(given: Any, wanted: connections.ConnectAttachment) -> dict[str, Any]:
    """What clients get: what the driver says, and what every connection has."""
    enforced = bool(wanted.connector.get("enforce_multipath", False))
    common = {"qos_specs": None, "access_mode": wanted.mode, "encrypted": False, "cacheable": False}
    data = {**common, **given["data"], "enforce_multipath": enforced}
    return {"driver_volume_type": given["driver_volume_type"], "data": data}


async def drop_access(run: Working) -> None:
    """Leave nothing half made behind, nor what an earlier connection has made: the attachment has none now."""
    wanted: connections.ConnectAttachment = run.payload
    await drop_accesses(run, wanted.attachment_id, upto=run.claim.token(wanted.attachment_id))
    run.state[connections.DROPPED] = True


async def take_accesses_back(run: Working) -> None:
    """Remove every access of the attachments, and wait a while for storage that refuses.

    One step: once begun it is not cancelled. A repeat finds removed what is removed.
    """
    wanted: connections.DisconnectAttachments = run.payload
    for attachment_id in wanted.attachment_ids:
        await _insist(run, attachment_id)


async def _insist(run: Working, attachment_id: str) -> None:
    until, pause_s, again = run.tools.clock.boottime() + PATIENCE_S, PAUSE_FIRST_S, False
    while True:
        try:
            return await drop_accesses(run, attachment_id, upto=run.claim.token(attachment_id), again=again)
        except BackendFailed:
            if run.tools.clock.boottime() >= until:
                raise
        again = True
        await run.checkpoint(progress=False)  # others may have the operation by now, or this process be leaving
        await run.tools.clock.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_MOST_S)


async def drop_accesses(run: Working, attachment_id: str, *, upto: tuple[int, int], again: bool = False) -> None:
    """Remove an attachment's accesses with this token or a lower one.

    Also one of that very token, which nobody has made, where an earlier claim may have removed something right before it died:
    so that is durable, too. The first claim has nobody before it; it may try `again` after a call of its own that failed.
    """
    removed = 0
    for access in await run.tools.driver.accesses(attachment_id):
        if (access.seq, access.epoch) <= upto:
            await run.tools.driver.disconnect(access)
            removed += 1
    if again or run.claim.epoch > 1 or not removed:
        await run.tools.driver.disconnect(ObjectName(attachment_id, *upto))


CONNECT_ATTACHMENT = Operation(
    kind=connections.CONNECT_KIND,
    version=1,
    payload=connections.ConnectAttachment,
    steps=(make_access,),
    finish=connections.finish_connect,
    undo=(drop_access,),
    fail=connections.fail_connect,
)
DISCONNECT_ATTACHMENTS = Operation(
    kind=connections.DISCONNECT_KIND,
    version=1,
    payload=connections.DisconnectAttachments,
    steps=(take_accesses_back,),
    finish=connections.finish_disconnect,
    fail=connections.fail_disconnect,
    is_patient=True,
)
