"""The checker of drivers' locks, on made-up lines: it sees what it is there for, and nothing else."""

from pathlib import PurePosixPath
from typing import Any

import pytest

from breezeblock.testing.history import History
from breezeblock.testing.locking import Shelves, shelf_of

FIRST, SECOND = "op-first", "op-second"
ON_0, ALSO_ON_0, ON_1 = (
    f"{digit * 8}-1111-4111-8111-11111111111{last}" for digit, last in (("a", 0), ("b", 2), ("c", 1))
)
LINE = {"shelf-0": "0" * 64, "shelf-1": "1" * 64}


class Told(Shelves):
    """Two operations, each on a volume of the same shelf, and what was found."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.told = History(lambda: 0.0)
        super().__init__(lambda invariant, what: self.found.append(invariant), self.told)
        self.are_locked = True
        self.in_line(FIRST, ON_0, 3)
        self.in_line(SECOND, ALSO_ON_0, 5)

    def place(
        self, operation: str, place: int, *, epoch: int = 1, exclusive: bool = True, shelf: str = "shelf-0"
    ) -> None:
        said = f"{place} {epoch} {int(exclusive)} node-of-{operation} c@b sim on secondary: {shelf}"
        self.placed(operation, LINE[shelf], said)

    def effect(self, operation: str, *, epoch: int = 1, name: str = ".3.1.part") -> list[str]:
        resource, seq = {FIRST: (ON_0, 3), SECOND: (ALSO_ON_0, 5)}[operation]
        path = PurePosixPath("/fast") / resource[:2] / f"{resource}{name}"
        self.on_effect("node0.worker1", "create", path, {resource: (seq, epoch)})
        return self.found

    def leave(self, place: int, *, me: str, silenced: bool = False) -> list[str]:
        self.left(LINE["shelf-0"], place, me=me, is_silenced=lambda incarnation, queue: silenced)
        return self.found


def test_resources_lie_on_shelves() -> None:
    """Several on each."""
    assert [shelf_of(one) for one in (ON_0, ALSO_ON_0, ON_1)] == ["shelf-0", "shelf-0", "shelf-1"]


def test_who_is_first_in_line_may_work() -> None:
    told = Told()
    told.place(FIRST, 1)
    told.place(SECOND, 2)

    assert told.effect(FIRST) == []
    assert told.leave(1, me=f"node-of-{FIRST}") == []
    assert told.effect(SECOND) == []


@pytest.mark.parametrize(("first", "second", "problems"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
def test_only_those_who_share_work_beside_each_other(first: int, second: int, problems: int) -> None:
    told = Told()
    told.place(FIRST, 1, exclusive=bool(first))
    told.place(SECOND, 2, exclusive=bool(second))

    assert told.effect(SECOND) == ["Exclusion"] * problems
    assert [entry.kind for entry in told.told.entries] == ["waits"] * problems


@pytest.mark.parametrize("how", ["never", "another shelf", "another claim", "given up"])
def test_an_effect_without_a_place_in_line_is_found(how: str) -> None:
    """Also one that lands after its call has left the line."""
    told = Told()
    if how == "another shelf":
        told.place(FIRST, 1, shelf="shelf-1")
    if how in ("another claim", "given up"):
        told.place(FIRST, 1, epoch=2 if how == "another claim" else 1)
    if how == "given up":
        told.leave(1, me=f"node-of-{FIRST}")

    assert told.effect(FIRST) == ["Exclusion"]


def test_what_is_no_object_needs_no_lock() -> None:
    """Folders; and where the storage asks for none, nothing does."""
    told = Told()
    tokens: dict[str, Any] = {ON_0: (3, 1)}
    told.on_effect("node0.worker1", "make_folder", PurePosixPath("/fast/aa"), tokens)
    told.are_locked = False

    assert told.effect(FIRST) == []


@pytest.mark.parametrize(
    ("me", "silenced", "problems"),
    [(f"node-of-{FIRST}", False, 0), ("another", True, 0), ("another", False, 1)],
)
def test_a_place_is_its_nodes_own_until_that_is_silenced(me: str, silenced: bool, problems: int) -> None:
    told = Told()
    told.place(FIRST, 1)

    assert told.leave(1, me=me, silenced=silenced) == ["Fence"] * problems


@pytest.mark.parametrize(("place", "problems"), [(2, 0), (1, 1)])
def test_a_place_is_behind_all_that_are_there(place: int, problems: int) -> None:
    told = Told()
    told.place(FIRST, 1)

    told.place(SECOND, place)

    assert told.found == ["Order"] * problems
