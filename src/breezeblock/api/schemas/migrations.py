"""Bodies of requests that move volumes to other backends."""

from msgspec import Struct

from breezeblock.api.schemas.fields import Flag, Text, Uuid


class Migrate(Struct, kw_only=True, forbid_unknown_fields=True):
    """Before 3.16."""

    host: Text
    force_host_copy: Flag | None = None
    lock_volume: Flag | None = None


class MigrateToCluster(Struct, kw_only=True, forbid_unknown_fields=True):
    """One of both is named."""

    host: Text | None = None
    cluster: Text | None = None
    force_host_copy: Flag | None = None
    lock_volume: Flag | None = None


class CompleteMigration(Struct, kw_only=True, forbid_unknown_fields=True):
    new_volume: Uuid
    error: str | bool | None = None
