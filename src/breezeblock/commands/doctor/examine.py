"""All looks at a machine, in the order in which one would repair what they find."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from breezeblock import settings
from breezeblock.commands.doctor import clocks, database, doorbell, fences, machine, stored
from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.settings import Settings, SettingsError

__all__ = ["CHECKS", "as_data", "examine", "told"]

CHECKS: Final[dict[str, Callable[[Settings], Iterable[Finding]]]] = {
    "machine": machine.look,
    "folders": stored.look,
    "clocks": clocks.look,
    "database": database.look,
    "doorbell": doorbell.look,
    "fences": fences.look,
}
"""Name of a part -> what looks at it."""

_ORDER: Final = {ERROR: 0, WARNING: 1, NOTE: 2}


def examine(
    file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object], *, parts: Sequence[str] = ()
) -> list[Finding]:
    """Look at everything, or at some parts; what is worst comes first. With settings that cannot be used there is no more."""
    found = list(machine.look_at_file(file))
    try:
        chosen = settings.load(file, environ, overrides).settings
    except SettingsError as error:
        return found + [_of_settings(problem) for problem in error.problems]
    for part in parts or CHECKS:
        found += _look(part, chosen)
    return sorted(found, key=lambda one: _ORDER[one.level])


def _look(part: str, chosen: Settings) -> Findings:
    """One part, as far as this user can see."""
    try:
        yield from CHECKS[part](chosen)
    except OSError as error:
        yield Finding(
            f"{part}.hidden",
            ERROR,
            f"What the settings name cannot be looked at: {error.filename or part}: {error.strerror or error}.",
            "The service would see no more than this user, if it runs as this one.",
            "Run this as the service's user; let that one pass through the folders above.",
        )


def _of_settings(problem: settings.Problem) -> Finding:
    return Finding(
        "settings",
        ERROR,
        str(problem),
        "The service does not start with it, and nothing else is looked at before it is right.",
        f"Change {problem.key}, or leave it out: docs/reference/configuration.md lists what it may be.",
    )


def told(found: Sequence[Finding]) -> str:
    """For people."""
    counts = {level: sum(one.level == level for one in found) for level in (ERROR, WARNING, NOTE)}
    words = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    return "\n".join([*map(str, found), f"{words}." if found else "Nothing was found that is not as it should be."])


def as_data(found: Sequence[Finding], parts: Sequence[str]) -> dict[str, Any]:
    """For programs."""
    return {"looked_at": list(parts or CHECKS), "findings": [one.as_data() for one in found]}
