"""One request of a client, and what came of it."""

import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "ACCEPTED", "BROKEN", "CHANGED_NOTHING", "REFUSED", "UNAVAILABLE", "UNKNOWN", "UNSENT", "Asked", "after", "message_of",
    "now", "outcome_of", "there",
]  # fmt: skip

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
UNAVAILABLE: Final = "unavailable"  # 503 that promises that nothing was changed
UNKNOWN: Final = "unknown"
UNSENT: Final = "unsent"
BROKEN: Final = "broken"  # 500 and the like: never right
CHANGED_NOTHING: Final = (REFUSED, UNAVAILABLE, UNSENT)

NOTHING_CHANGED: Final = "Nothing was changed"


def now() -> float:
    """The clock of everything here: CLOCK_BOOTTIME, the same in all processes of a machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Asked:
    """One request and what came of it."""

    client: int
    kind: str
    name: str
    outcome: str
    status: int | None
    request_id: str | None
    message: str
    sent_at: float
    took_s: float
    retry_after: bool = False
    """Whether the answer says when to try again."""


def outcome_of(status: int, answer: Any) -> str:
    if status < 300:
        return ACCEPTED
    if status < 500:
        return REFUSED
    if status == 503:
        return UNAVAILABLE if NOTHING_CHANGED in message_of(answer) else UNKNOWN
    return BROKEN


def message_of(answer: Any) -> str:
    if isinstance(answer, dict) and len(answer) == 1:
        (inner,) = answer.values()
        if isinstance(inner, dict):
            return str(inner.get("message"))
    return str(answer)


def there(outcome: str) -> set[bool]:
    return {ACCEPTED: {True}, UNKNOWN: {True, False}, BROKEN: {True, False}}.get(outcome, {False})


def after(outcome: str, before: Set[Any], wanted: Any) -> set[Any]:
    """What may be after a request for `wanted`."""
    if outcome == ACCEPTED:
        return {wanted}
    return {*before, wanted} if outcome in (UNKNOWN, BROKEN) else set(before)
