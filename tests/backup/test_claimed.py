"""A claim that is over changes nothing in a store any more: found by seed 2809898481, with cuts alone.

A failover had revoked a backup's task that waited for the database. Four seconds later it uploaded its manifest, of a backup
that its survivor had finished and that somebody had deleted since.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from breezeblock.model.errors import Fenced
from breezeblock.testing.objects import Shelf
from breezeblock.work.claimed import Claimed

KEY = "archive/manifests/one"


class Claim:
    """One that may be over."""

    def __init__(self) -> None:
        self.is_over = False

    def require_current(self) -> None:
        if self.is_over:
            raise Fenced("the operation was revoked")


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.put("archive/manifests/two", [b"late"]),
        lambda store: store.put(KEY, [b"late"]),
        lambda store: store.delete(KEY),
        lambda store: store.check(),
    ],
)
def test_who_was_revoked_changes_nothing(change: Callable[[Claimed], Coroutine[Any, Any, None]]) -> None:
    """And reads on: what it has begun may want to end well."""

    async def main() -> None:
        shelf, claim = Shelf(), Claim()
        store = Claimed(shelf, claim.require_current)
        await store.put(KEY, [b"in ", b"time"])
        claim.is_over = True

        with pytest.raises(Fenced):
            await change(store)

        assert shelf.objects == {KEY: b"in time"}
        assert await store.get(KEY) == b"in time"
        assert await store.size(KEY) == 7
        assert [stored.key async for stored in store.list("")] == [KEY]

    asyncio.run(main())
