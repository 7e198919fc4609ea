"""What a claim returns, held against the rows at the very moment of its swap.

A worker goes on from what its claim says. Whether that is the checkpoint that there is, or one of before, shows in the tables
only where the difference happens to do harm; so it is compared where it is read.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, select

from breezeblock.env.contract import Env
from breezeblock.protocol.queue import Claim
from breezeblock.store.run import Lane, Store
from breezeblock.store.tables import operations

__all__ = ["WitnessedStore", "stale"]

P = ParamSpec("P")
T = TypeVar("T")

CHECKPOINT: Final = ("direction", "step", "state_json", "failure_json", "cancel", "epoch")


class WitnessedStore(Store):
    """A worker's store, whose claims are looked at; `on_stale` is told of those that are not what the tables say."""

    def __init__(self, lane: Lane, env: Env, *, on_stale: Callable[[str], None], receivers: Sequence[str] = ()) -> None:
        super().__init__(lane, env, receivers=receivers)
        self._on_stale = on_stale

    async def run(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Store.run`."""

        @functools.wraps(f)
        def witnessed(tx: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
            result: Any = f(tx, *args, **kwargs)
            if isinstance(result, list) and result and isinstance(result[0], Claim):
                for what in stale(tx, result):
                    self._on_stale(what)
            return result  # type: ignore[no-any-return]

        return await super().run(witnessed, *args, **kwargs)


def stale(tx: Connection, claims: Sequence[Claim]) -> list[str]:
    """What claims say that their rows do not, in the transaction that has made them."""
    found = []
    for claim in claims:
        row = tx.execute(select(operations).where(operations.c.id == claim.operation_id)).one()
        differing = [name for name in CHECKPOINT if getattr(row, name) != getattr(claim, name)]
        if differing:
            found.append(f"{claim.owner} goes on with {claim.operation_id} from an old {', '.join(differing)}")
    return found
