"""What conflicting requests on one volume may come to, when nothing runs in between: a model, and a search for an order.

The requests were sent at the same instant, so any order may be the true one. But there has to be *one* order in which the
model gives every request the answer that it got, and every loser the reason that is true at its place.

| first \\ then   | delete | cascade | extend | retype | revert | snapshot | clone | force delete | reset |
|-----------------|--------|---------|--------|--------|--------|----------|-------|--------------|-------|
| delete, cascade | no     | no      | no     | no     | no     | no       | no    | yes          | yes   |
| extend, retype, |        |         |        |        |        |          |       |              |       |
| revert          | no     | no      | no     | no     | no     | no       | no    | yes *        | yes   |
| snapshot        | no     | no **   | yes    | yes    | no *** | yes      | yes   | no           | yes   |
| clone           | yes    | yes     | yes    | yes    | yes    | yes      | yes   | yes          | yes   |
| reset           | yes    | yes     | no, while what it cancelled has not ended        | yes          | yes   |

*) without snapshots; **) while a snapshot is being taken; ***) it is not to the latest one any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

DELETABLE: Final = ("available", "error")
WORKED_ON: Final = "is still being worked on"


@dataclass(frozen=True)
class State:
    """The volume as the requests before have left it. `snapshots` are those that have been asked for here."""

    status: str = "available"
    changing: bool = False
    """An exclusive operation stands in its line."""
    latest: bool = False
    """It had one snapshot in the beginning, to which it can be reverted."""
    snapshots: int = 0

    @property
    def any_snapshot(self) -> bool:
        return self.latest or self.snapshots > 0


@dataclass(frozen=True, order=True)
class Answered:
    """One request and its answer: the reason, where it was refused."""

    kind: str
    accepted: bool
    message: str = ""


def step(state: State, kind: str) -> tuple[State | None, tuple[str, ...]]:
    """The state after a request that is accepted; or None and the words that the refusal's reason must have."""
    status = (f"has status {state.status}",)
    if kind == "reset":
        return replace(state, status="available"), ()
    if kind in ("delete", "cascade", "force_delete"):
        if kind != "force_delete" and state.status not in DELETABLE:
            return None, status
        if kind != "cascade" and state.any_snapshot:
            return None, ("still has snapshots",)
        if kind == "cascade" and state.snapshots:
            return None, ("neither available nor in error",)
        return replace(state, status="deleting", changing=True), ()
    if kind == "revert" and state.snapshots:
        return None, ("is not the latest",)
    if state.status != "available":
        return None, status
    if state.changing:
        return None, (WORKED_ON,)
    if kind in ("snapshot", "clone"):
        return replace(state, snapshots=state.snapshots + (kind == "snapshot")), ()
    becomes = {"extend": "extending", "retype": "retyping", "revert": "reverting"}[kind]
    return replace(state, status=becomes, changing=True), ()


def explain(state: State, answers: list[Answered]) -> list[Answered] | None:
    """One order in which the model answers the same, or None."""

    @cache
    def search(at: State, left: tuple[Answered, ...]) -> tuple[Answered, ...] | None:
        if not left:
            return ()
        for index, one in _different(left):
            after, words = step(at, one.kind)
            fits = after is not None if one.accepted else after is None and all(word in one.message for word in words)
            if not fits:
                continue
            rest = search(after or at, (*left[:index], *left[index + 1 :]))
            if rest is not None:
                return (one, *rest)
        return None

    found = search(state, tuple(sorted(answers)))
    return None if found is None else list(found)


def _different(left: tuple[Answered, ...]) -> Iterator[tuple[int, Answered]]:
    """The first of each group of equal ones: trying the others would find the same."""
    seen: set[Answered] = set()
    for index, one in enumerate(left):
        if one not in seen:
            seen.add(one)
            yield index, one
