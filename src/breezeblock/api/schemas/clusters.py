"""Bodies of requests that enable and disable clusters."""

from typing import Annotated

from msgspec import Meta, Struct

from breezeblock.api.schemas.services import Reason


class EnableCluster(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    binary: Annotated[str, Meta(max_length=255)] | None = "cinder-volume"


class DisableCluster(EnableCluster, kw_only=True, forbid_unknown_fields=True):
    disabled_reason: Reason | None = None
