"""Waiting for what an operation finds out: for calls whose answer only a driver has.

The request has committed its operation before anybody waits here. So who waits no longer, or dies, or is cut off, has lost
nothing: the operation ends all the same, and asking again gives its result. Nothing is held between two looks, neither a
connection nor a transaction.
"""

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection

from breezeblock.api.call import Call
from breezeblock.model.errors import StillRunning, Unavailable

__all__ = ["wait_for"]

P = ParamSpec("P")
T = TypeVar("T")

# A connection is mostly made within some ten milliseconds, of which a look in time saves a third; what takes seconds is looked
# for no oftener than twice in one of them.
FIRST_LOOK_S: Final = 0.005
SLOWER: Final = 1.15
LOOK_EVERY_S: Final = 0.5


async def wait_for(
    call: Call,
    what: str,
    look: Callable[Concatenate[Connection, P], T | None],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """What `look` finds in the database, asked again and again while it finds None, as long as `api.answer_timeout_s`.

    `look` raises what the operation's failure means for the caller. `what` is what is waited for, and how it is asked for
    again, as the beginning of a sentence. Raises StillRunning when it takes longer than that.
    """
    clock = call.services.env.clock
    until = clock.boottime() + call.settings.api.answer_timeout_s
    pause_s = FIRST_LOOK_S
    while (found := await _looked(call, look, *args, **kwargs)) is None:
        left_s = until - clock.boottime()
        if left_s <= 0:
            raise StillRunning(
                f"{what} takes longer than {call.settings.api.answer_timeout_s:g} s. It was accepted and goes on: "
                "ask again to wait for the same result."
            )
        await clock.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * SLOWER, LOOK_EVERY_S)
    return found


async def _looked(
    call: Call, look: Callable[Concatenate[Connection, P], T | None], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """One look. A database that is away now has the operation all the same: nobody is told that nothing was changed."""
    try:
        return await call.store.read(look, *args, **kwargs)
    except Unavailable:
        return None
