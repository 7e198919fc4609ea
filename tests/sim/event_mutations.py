"""What `mutations.py` takes away of how events are sent."""

from collections.abc import Sequence

import pytest

from breezeblock.model.events import Event
from breezeblock.node.sender import Outlet, Sender
from breezeblock.protocol import posting
from breezeblock.protocol.posting import Held, Seen

Patch = pytest.MonkeyPatch


def events_forgotten_before_they_are_taken(patch: Patch) -> None:
    """An event is forgotten when it is about to be sent."""
    deliver = Sender._deliver

    async def forget_first(self: Sender, held: Held, outlet: Outlet, seen: Seen, chosen: list[Event]) -> float | None:
        await self._store.run(posting.sent, held, ids=[event.id for event in chosen])
        return await deliver(self, held, outlet, seen, chosen)

    patch.setattr(Sender, "_deliver", forget_first)


def events_by_their_times(patch: Patch) -> None:
    """Events are sent in the order of the clocks of those who wrote them."""

    def by_time(found: Sequence[Event]) -> list[Event]:
        return sorted(found, key=lambda event: event.at_us)

    patch.setattr(posting, "_by_time", by_time)


def events_set_aside_whoever_refuses(patch: Patch) -> None:
    """What is refused three times alone is set aside, also by a receiver that refuses everything."""

    async def believe(self: Sender, held: Held, outlet: Outlet, seen: Seen, event: Event, error: str) -> bool:
        return True

    patch.setattr(Sender, "_takes_another", believe)
