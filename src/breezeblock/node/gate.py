"""The worker's gate: no storage call starts without the lease.

The keeper publishes until when calls may start in a page of memory that both processes map. So a worker needs no message
to stop: when the keeper is stopped, hung or dead, the published instant passes by itself. A message closes the gate
earlier, and the worker confirms it when the calls under way have ended.

This narrows the window and does not close it: a process can be frozen between the check and its system call. That is why
nothing is released before the fence (architecture §6).
"""

import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from breezeblock.env.contract import Clock
from breezeblock.model.errors import Fenced

# How often a waiting call looks whether the gate is open again.
LOOK_EVERY_S = 0.05


class Deadline(Protocol):
    """What keeper and worker share. Written by the keeper only."""

    @property
    def until(self) -> float:
        """Boottime in seconds from which no storage call may start."""
        ...

    @property
    def lapses(self) -> int:
        """How often the lease had been lost when it was renewed again."""
        ...


class Gate:
    """Implements `protocol.steps.Lease`, and makes the guards through which drivers work."""

    def __init__(self, clock: Clock, deadline: Deadline) -> None:
        self._clock = clock
        self._deadline = deadline
        self._shut = False
        self._shuts = 0
        self._under_way = 0
        self._counting = threading.Lock()

    def is_open(self) -> bool:
        """Whether a storage call may start now."""
        return not self._shut and self._clock.boottime() < self._deadline.until

    @property
    def lapses(self) -> int:
        """Changes whenever the right to work was lost in between, seen or unseen."""
        return self._deadline.lapses + self._shuts

    async def wait_open(self) -> None:
        """Return once storage calls may start."""
        while not self.is_open():
            await self._clock.sleep(LOOK_EVERY_S)

    def open(self) -> None:
        """The keeper has renewed the lease."""
        self._shut = False

    def shut(self) -> Coroutine[Any, Any, None]:
        """Let no call start any more; the coroutine that this returns ends when none is under way.

        The gate is shut when this returns, not when the coroutine is first run: an `open` that comes in between would be
        undone by it, and the gate would stay shut for good.
        """
        if not self._shut:
            self._shut = True
            self._shuts += 1
        return self._wait_idle()

    async def _wait_idle(self) -> None:
        while self._under_way:
            await self._clock.sleep(LOOK_EVERY_S / 5)

    def guard(self, tokens: Mapping[str, tuple[int, int]]) -> "OperationGuard":
        """The guard for one operation's storage calls."""
        return OperationGuard(self, tokens)

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """One storage call: counted while it lasts, and allowed only if the gate is open at this very moment."""
        with self._counting:
            self._under_way += 1
        try:
            yield self.is_open()
        finally:
            with self._counting:
                self._under_way -= 1


class OperationGuard:
    """Implements `env.contract.Guard` for the operation whose tokens it carries."""

    def __init__(self, gate: Gate, tokens: Mapping[str, tuple[int, int]]) -> None:
        self._gate = gate
        self._tokens = dict(tokens)
        self._revoked = False
        self._under_way = 0
        self._counting = threading.Lock()

    def revoke(self) -> None:
        """The claim is over while its node lives on: not one more call under its tokens, since the next one's are higher."""
        self._revoked = True

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way: with `revoke` before it, that none will ever be."""
        with self._counting:
            return self._under_way == 0

    def require_current(self) -> None:
        """Raise Fenced once the claim is over, as far as this node has noticed."""
        if self._revoked:
            raise Fenced("the operation was revoked")

    async def wait_open(self) -> None:
        """See `env.contract.Guard`."""
        self.require_current()
        await self._gate.wait_open()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        """See `env.contract.Guard`."""
        with self._counting:
            self._under_way += 1
        try:
            with self._gate.enter() as may:
                yield may and not self._revoked
        finally:
            with self._counting:
                self._under_way -= 1

    def tokens(self) -> dict[str, tuple[int, int]]:
        """See `env.contract.Guard`."""
        return dict(self._tokens)
