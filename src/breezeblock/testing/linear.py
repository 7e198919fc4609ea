"""Whether what clients were answered can be put into one line that agrees with the clock: linearizability, per resource.

The commits are that line: what each resource has been (its status, size and type, and all that users and operators edit) is
known with its instant. So every answer is a claim about some instant between the question and the answer, and of two accepted
requests, one asked after the other was answered, the first stands before the second, in each line in which both have a place.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "EDITED", "EDITED_OF_VOLUMES", "Answered", "Claim", "Claims", "Line", "State", "claims_of", "claims_of_row", "state_of_row",
]  # fmt: skip

# What requests change without an operation, of both kinds of resources and of volumes alone.
EDITED: Final = ("name", "description", "metadata_json")
EDITED_OF_VOLUMES: Final = ("bootable", "readonly", "attach_status")
# What refusals say of a resource: that it is not there, which status it has, and how large it is.
_GONE: Final = re.compile(r"(?:Volume|Snapshot|Backup|Group) ([0-9a-f-]{36}) could not be found")
_STATUS: Final = re.compile(r"(?:[Vv]olume|Snapshot|Backup|Group|Group snapshot) ([0-9a-f-]{36}) has status ([a-z_-]+)")
_EDIT: Final = re.compile(r"(?:Volume|Snapshot) ([0-9a-f-]{36}) is ([a-z_-]+); it")
_MAINTENANCE: Final = re.compile(r"Volume ([0-9a-f-]{36}) is in (maintenance) ")
_SIZE: Final = re.compile(r"than the current size of (\d+) GiB")
_SIZES: Final = re.compile(r"Volume ([0-9a-f-]{36}) has (\d+) GiB and its snapshot")
_TYPE: Final = re.compile(r"Volume ([0-9a-f-]{36}) already has this type")


class State(NamedTuple):
    """What a client can see of a resource; None in what it was told means that nothing was said of that."""

    status: str | None = None
    size_gib: int | None = None
    type_id: str | None = None
    edited: str | None = None
    """Names, metadata and flags as one text: none of them may be told without the others."""

    def agrees(self, said: "State") -> bool:
        """Whether what was said holds of this, all of it together."""
        return all(mine == theirs for mine, theirs in zip(self, said, strict=True) if theirs is not None)

    def __str__(self) -> str:
        size = None if self.size_gib is None else f"{self.size_gib} GiB"
        type_ = None if self.type_id is None else f"type {self.type_id[:8]}"
        return " ".join(word for word in (self.status, size, type_, self.edited) if word is not None)


# What was said of a resource; None: that it is not there.
Claim = tuple[str, State | None]
Claims = tuple[Claim, ...]


@dataclass(frozen=True)
class Answered:
    """One answer: which operation it accepted, if any, and what it claims."""

    kind: str
    resource: str
    asked_at: float
    answered_at: float
    operation: str | None = None
    claims: Claims = ()
    project: str | None = None
    """Whose eyes it was seen with; None: an administrator's, to whom all of it is there."""

    def __str__(self) -> str:
        return f"{self.kind} of {self.resource}, asked at {self.asked_at:.6f} and answered at {self.answered_at:.6f}"


def claims_of(refusal: str, *, about: str, type_id: str | None = None) -> Claims:
    """What a refusal's sentence says of resources. `about` is what was asked about, `type_id` the type that was asked for."""
    return (
        *((found[1], None) for found in _GONE.finditer(refusal)),
        *(
            (found[1], State(status=found[2]))
            for sentence in (_STATUS, _EDIT, _MAINTENANCE)
            for found in sentence.finditer(refusal)
        ),
        *((about, State(size_gib=int(found[1]))) for found in _SIZE.finditer(refusal)),
        *((found[1], State(size_gib=int(found[2]))) for found in _SIZES.finditer(refusal)),
        *((found[1], State(type_id=type_id)) for found in _TYPE.finditer(refusal)),
    )


def claims_of_row(resource: str, row: Mapping[str, object]) -> Claims:
    """What an answer that shows a row says."""
    return ((resource, state_of_row(row)),)


def state_of_row(row: Mapping[str, object]) -> State:
    """All that a row is. One of a snapshot has no flags."""
    size, type_ = row["size_gib"], row.get("volume_type_id")  # a backup has none
    assert isinstance(size, int) and (type_ is None or isinstance(type_, str))
    names = (*EDITED, *EDITED_OF_VOLUMES) if "attach_status" in row else EDITED
    return State(str(row["status"]), size, type_, " ".join(f"{name}={_plain(row[name])}" for name in names))


def _plain(value: object) -> object:
    """A database without truth values has numbers."""
    return int(value) if isinstance(value, bool) else value


class Line:
    """What every resource has been, and every answer about it."""

    def __init__(self) -> None:
        self._had: dict[str, list[tuple[float, State | None]]] = {}
        self._owners: dict[str, list[tuple[float, str]]] = {}
        self._answers: list[Answered] = []

    def given(self, resource: str, at: float, project: str) -> None:
        """From this commit on it is this project's: for all others it is not there."""
        self._owners.setdefault(resource, []).append((at, project))

    def moved(self, resource: str, at: float, state: State | None) -> None:
        """From this commit on it is that; None: it is not there any more, for anybody who asks."""
        if state is None and resource not in self._had:
            return  # it has places in lines, and is nothing that is looked at here
        had = self._had.setdefault(resource, [(float("-inf"), None)])
        if had[-1][1] != state:
            had.append((at, state))

    def answered(self, answer: Answered) -> None:
        """Somebody was answered."""
        self._answers.append(answer)

    def problems(self, places: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Every answer that no instant agrees with. `places`: operation -> resource -> its place in that line."""
        found = [problem for answer in self._answers for problem in self._judge(answer)]
        lines: dict[str, list[tuple[int, Answered]]] = {}
        for answer in self._answers:
            for resource, place in places.get(answer.operation or "", {}).items():
                lines.setdefault(resource, []).append((place, answer))
        return found + [problem for resource, line in lines.items() for problem in _misplaced(resource, line)]

    def _judge(self, answer: Answered) -> list[str]:
        found = []
        for resource, said in answer.claims:
            had = self._between(resource, answer)
            true = None in had if said is None else any(state is not None and state.agrees(said) for state in had)
            if not true and not (said is None and self._was_hidden(resource, answer)):
                found.append(f"{answer} said that {resource} is {said or 'gone'}; it was {_said(had)}")
        known = answer.resource in self._had and not answer.kind.startswith("create")
        if known and answer.operation is not None and self._between(answer.resource, answer) == [None]:
            found.append(f"{answer} was accepted, and there was none")
        return found

    def _was_hidden(self, resource: str, answer: Answered) -> bool:
        """Whether it was another project's than the asker's at an instant from the question to the answer."""
        owners = self._owners.get(resource, [])
        before = [project for at, project in owners if at <= answer.asked_at][-1:]
        meanwhile = [project for at, project in owners if answer.asked_at < at <= answer.answered_at]
        return answer.project is not None and any(project != answer.project for project in (*before, *meanwhile))

    def _between(self, resource: str, answer: Answered) -> list[State | None]:
        """What a resource was at the instants from the question to the answer."""
        had = self._had.get(resource, [(float("-inf"), None)])
        before = [state for at, state in had if at <= answer.asked_at][-1]
        return [before, *(state for at, state in had if answer.asked_at < at <= answer.answered_at)]


def _misplaced(resource: str, line: Iterable[tuple[int, Answered]]) -> Iterator[str]:
    """Those asked after another one was answered, and placed before it. All pairs: the highest place answered so far counts."""
    by_answer = sorted(line, key=lambda one: one[1].answered_at)
    by_question = sorted(by_answer, key=lambda one: one[1].asked_at)
    answered, highest = 0, by_answer[0]
    for place, later in by_question:
        while by_answer[answered][1].answered_at < later.asked_at:  # its own answer comes after that, and ends this
            highest = max(highest, by_answer[answered], key=lambda one: one[0])
            answered += 1
        if answered > 0 and highest[0] > place:
            yield f"{later} stands before {highest[1]} in the line of {resource}"


def _said(states: Iterable[State | None]) -> str:
    return " and ".join(sorted({str(state or "gone") for state in states}))
