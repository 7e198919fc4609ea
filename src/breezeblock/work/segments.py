"""What a backup has stored so far, as its operation saves it: a row for each segment, in the checkpoint's own transaction.

So a checkpoint is as small for a volume of many TiB as for one of a few GiB. The release before kept all of them in the
operation's state: an operation that was written for it (version 1) goes on so, since one of its nodes may go on with it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from breezeblock.backup.engine import Segment
from breezeblock.protocol import segments
from breezeblock.work.tools import Working

# The version of `create_backup` from which on segments are rows.
ROWS_FROM: Final = 2


async def count(run: Working) -> int:
    """How many segments are stored, the first ones. None of those that were read of other storage."""
    if not _in_rows(run):
        return len(run.state.get("segments", ())) if run.state.get("read_in") == run.claim.generation else 0
    return await run.read(segments.count, backup_id=run.payload.backup_id, read_in=run.claim.generation)


async def save(run: Working, stored: Sequence[Segment], **changes: Any) -> None:
    """A checkpoint: these segments, which follow those that are saved, are complete. Raises as `Run.checkpoint`."""
    if not _in_rows(run):
        before = run.state.get("segments", ()) if run.state.get("read_in") == run.claim.generation else ()
        all_of_them = [*before, *(msgspec.to_builtins(one) for one in stored)]
        await run.checkpoint(segments=all_of_them, read_in=run.claim.generation, **changes)
        return
    rows = [(one.number, msgspec.json.encode(one).decode()) for one in stored]
    put = partial(segments.put, backup_id=run.payload.backup_id, read_in=run.claim.generation, rows=rows)
    await run.checkpoint(also=put, **changes)


async def load(run: Working) -> list[Segment]:
    """All segments of a backup whose segments are stored, in order. Read in pages."""
    if not _in_rows(run):
        return msgspec.convert(run.state["segments"], list[Segment])
    found: list[Segment] = []
    while page := await run.read(segments.page, backup_id=run.payload.backup_id, start=len(found)):
        found += [msgspec.json.decode(text, type=Segment) for _, text in page]
    return found


async def forget(run: Working) -> None:
    """Remove what nobody will ask for any more, some at a time. What is left goes with the operation. Raises Fenced."""
    while await run.note(segments.forget_some, backup_id=run.payload.backup_id):
        pass


def _in_rows(run: Working) -> bool:
    return run.claim.version >= ROWS_FROM
