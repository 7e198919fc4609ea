"""What a look at a machine finds."""

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal

__all__ = ["ERROR", "NOTE", "WARNING", "Finding", "Findings", "Level"]

Level = Literal["error", "warning", "note"]

ERROR: Final = "error"
"""The service does not start, loses data, or does not do what it was set up for."""
WARNING: Final = "warning"
"""It works, until something happens that happens sooner or later."""
NOTE: Final = "note"
"""Good to know; nothing has to be done."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    check: str
    """Which look found it: `part.subject`, stable, for programs."""
    level: Level
    what: str
    why: str
    """Why it matters."""
    do: str
    """What to do about it."""

    def as_data(self) -> dict[str, str]:
        """For programs."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.level.upper():8}{self.check}: {self.what}\n        why: {self.why}\n        do:  {self.do}"


Findings = Iterator[Finding]
