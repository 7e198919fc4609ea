"""One request of a simulation: the transaction that its handler runs, and what it is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from breezeblock.model.origin import Origin
from breezeblock.resources import listing

__all__ = ["READS", "Call", "show"]

READS: Final = ("show_volume", "show_snapshot", "show_backup")
_UNSAID: Final = (
    "quota_defaults",
    "volume_id",
    "backup_id",
    "of",
    "wanted",
    "binary",
    "note",
    "group_id",
    "group_snapshot_id",
    "own_cluster",
    "now_us",
    "auth_key",
    "transfer_id",
)
_SAID_OF_WANTED: Final = (
    *("size_gib", "volume_type", "source_volid", "snapshot_id", "volume_id", "backup_id", "incremental", "force"),
    *("cluster_name", "is_up"),
)


@dataclass(frozen=True)
class Call:
    """`table`: of a resource, the table it is in. `signed`: whether the transaction is told whose request it is."""

    kind: str
    f: Callable[..., Any]
    about: str
    arguments: dict[str, Any]
    table: str = ""
    admin: bool = False
    signed: bool = True
    type_id: str | None = None
    """The volume type that is asked for, where it is known by its id."""

    @property
    def said(self) -> str:
        """The arguments, for people, and which of several changes it is."""
        given = {name: value for name, value in self.arguments.items() if name not in _UNSAID}
        if "wanted" in self.arguments:
            given |= {name: getattr(self.arguments["wanted"], name, None) for name in _SAID_OF_WANTED}
        words = [f"{name}={value}" for name, value in given.items() if value is not None]
        return " ".join([self.f.__name__, *words] if self.kind.startswith(("change", "edit")) else words)

    @property
    def reads(self) -> bool:
        return self.kind in READS


def show(tx: Connection, *, of: listing.Listing, about: str, origin: Origin) -> Mapping[str, Any]:
    """What a client sees of one resource. Raises NotFound."""
    return listing.one(tx, of, id_=about, project_id=origin.project_id)
