"""Whether a server has enough connections for all that may ask for one."""

from breezeblock.commands.doctor.finding import ERROR, WARNING, Finding, Findings
from breezeblock.settings import Settings

__all__ = ["connections_of", "few_connections"]

# Besides its pools: an API process has its doorbell; a node has its keeper, and its doorbell's two ends.
BESIDE_API = 1
BESIDE_NODE = 3
# How many machines a service on a server usually has.
MACHINES = 3


def connections_of(settings: Settings) -> int:
    """How many connections the processes of this machine may have open at the same time."""
    of_one = settings.database.connections + max(2, settings.database.connections // 2)
    return settings.api.workers * (of_one + BESIDE_API) + settings.nodes.count * (of_one + BESIDE_NODE)


def few_connections(settings: Settings, url: str, *, most: int, others: int, option: str) -> Findings:
    """`others` are connections of other programs that are open now."""
    own = connections_of(settings)
    machines = 1 if settings.one_machine else MACHINES
    needed = own * machines + others
    if most >= needed:
        return
    for_own = most < own + others
    yield Finding(
        "database.connections",
        ERROR if for_own else WARNING,
        f"{url} takes {most} connections; this machine may need {own}"
        + ("" if machines == 1 else f", {machines} such machines {own * machines}")
        + (f", and others have {others}." if others else "."),
        "Who gets none answers 503, and a keeper that gets none loses its lease.",
        f"Raise {option} to {needed + needed // 5}, or lower database.connections (now {settings.database.connections}).",
    )
