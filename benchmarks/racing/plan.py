"""What is run, and what one change of a row leaves behind."""

from dataclasses import dataclass
from typing import Final

from .meter import Usage

AVAILABLE: Final = "available"
DELETING: Final = "deleting"

# As in the source's experiment: the work on a row, the pause before each change, and the one before a loser tries again.
WORK_MS: Final = 10
PAUSE_S: Final = 0.01
RETRY_S: Final = 0.01
# Who has not got a row after so long never will: the run ends with an error instead of never.
PATIENCE_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class Case:
    """So many rows, so many workers that want each of them, and how long each works on a row that it has got."""

    rows: int
    workers_each: int
    work_ms: int = WORK_MS

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.workers_each}" + (f"@{self.work_ms}" if self.work_ms != WORK_MS else "")

    @property
    def workers(self) -> int:
        return self.rows * self.workers_each

    @classmethod
    def parse(cls, text: str) -> "Case":
        """`100x3`: 100 rows with three workers each. `100x3@50`: who work for 50 ms."""
        counts, _, work_ms = text.partition("@")
        rows, _, each = counts.partition("x")
        return cls(int(rows), int(each), int(work_ms or WORK_MS))


@dataclass(frozen=True, slots=True)
class Change:
    """One worker had one row once. Instants in seconds of the machine's monotonic clock, which all processes share."""

    row: int
    worker: int
    wanted: float
    acquired: float
    """From here on the row says so, and nobody else may have it."""
    accepted: float
    """The request was answered (Breezeblock): from here on it cannot be lost. For the others when the row is acquired."""
    working: float
    """From here on somebody works on it: the same, or for Breezeblock the end of the claim."""
    releasing: float
    released: float
    retries: int
    """Transactions that were run again because of a deadlock or a failed certification."""
    failure: str
    """What a node said that it must not say; empty when all was right."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a crowd has done together, and what it took."""

    changes: list[Change]
    used: Usage
    more_retries: int
    """Those of processes that are no workers."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told: do so many changes of this row in this way."""

    solution: str
    row: int
    row_id: str
    changes: int
    first: int
    """The number of the first of them, so that no two ever write the same mark."""
    work_s: float
    own_row_id: str
    """A row that nobody else wants, to be changed once before the start: connections are open then, and statements known."""
