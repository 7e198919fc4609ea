"""Events as lines of the service's own log."""

from collections.abc import Sequence

import msgspec
import structlog

from breezeblock.model.events import Event

__all__ = ["LogReceiver"]

log = structlog.get_logger(__name__)


class LogReceiver:
    """Implements `Receiver`. A line is written when this returns, as any other line of the log is."""

    async def send(self, events: Sequence[Event]) -> None:
        """See `Receiver.send`."""
        for event in events:
            # `event` is the name of a log line.
            log.info("event.told", name=event.name, told=msgspec.to_builtins(event))

    async def close(self) -> None:
        """See `Receiver.close`."""
