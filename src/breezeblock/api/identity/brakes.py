"""Who guesses passwords is slowed: by the user whose it would be, and by the address where the guesses come from.

The first few failures cost nothing: people mistype. From then on each attempt waits before its password is looked at, twice as
long as the one before, up to a bound; right passwords as well, or the time would tell which one it is. Who was found good a
moment ago does not get here: he is remembered (`http_basic.py`), so that nobody can be locked out of what he is doing.

An attempt counts when it begins. Otherwise a thousand at once would all be within the first few.
"""

from typing import Final, NamedTuple

from breezeblock.api.addresses import counted_as
from breezeblock.api.identity.remembered import Remembered
from breezeblock.env.contract import Clock

__all__ = ["Brakes", "TooManyAttempts"]

FREE_FAILURES: Final = 5
FIRST_WAIT_S: Final = 0.5
WAIT_MOST_S: Final = 30.0
# After so long without another attempt what was before is forgotten.
FORGOTTEN_S: Final = 900.0
# Some hundred bytes each. Whoever has more addresses than that starts again with each, which costs him the addresses.
KEPT_MOST: Final = 10_000
# For one user or one address; each that waits is a connection of ours.
WAITING_MOST: Final = 4
_DOUBLINGS_MOST: Final = 16


class TooManyAttempts(Exception):
    """So many wait for the same user or address that this one is not let in. After `retry_after_s` it may be."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"{retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class _Record(NamedTuple):
    failures: int
    last_at: float


class Brakes:
    """Of one process: a cluster's guessers are slowed by each of its processes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: Remembered[str, _Record] = Remembered(most=KEPT_MOST)
        self._waiting: dict[str, int] = {}

    async def begin(self, *, user: str, address: str) -> None:
        """Count an attempt as failed, after the wait that the ones before have earned. Raises TooManyAttempts."""
        keys = _keys(user, address)
        wait_s = max(self._wait_s(key) for key in keys)
        if wait_s and any(self._waiting.get(key, 0) >= WAITING_MOST for key in keys):
            raise TooManyAttempts(wait_s)
        for key in keys:
            self._records.put(key, _Record(self._failures(key) + 1, self._clock.boottime()))
        if wait_s:
            await self._wait(keys, wait_s)

    def succeeded(self, *, user: str, address: str) -> None:
        """The attempt was none to guess. What others have tried from that address still counts."""
        of_user, of_address = _keys(user, address)
        self._records.forget(of_user)
        self._take_back(of_address)

    def take_back(self, *, user: str, address: str) -> None:
        """The attempt came to nothing by no fault of its own."""
        for key in _keys(user, address):
            self._take_back(key)

    def _take_back(self, key: str) -> None:
        failures = self._failures(key) - 1
        if failures > 0:
            self._records.put(key, _Record(failures, self._clock.boottime()))
        else:
            self._records.forget(key)

    async def _wait(self, keys: tuple[str, str], seconds: float) -> None:
        for key in keys:
            self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            await self._clock.sleep(seconds)
        finally:
            for key in keys:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key]

    def _failures(self, key: str) -> int:
        record = self._records.get(key)
        if record is None or self._clock.boottime() >= record.last_at + FORGOTTEN_S:
            return 0
        return record.failures

    def _wait_s(self, key: str) -> float:
        doublings = self._failures(key) - FREE_FAILURES
        return 0.0 if doublings < 0 else min(WAIT_MOST_S, FIRST_WAIT_S * 2.0 ** min(doublings, _DOUBLINGS_MOST))


def _keys(user: str, address: str) -> tuple[str, str]:
    return f"user {user}", f"address {counted_as(address)}"
