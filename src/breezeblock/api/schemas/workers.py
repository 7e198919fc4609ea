"""Bodies of requests to clean up after lost services."""

from typing import Literal

from msgspec import Struct

from breezeblock.api.schemas.fields import Flag, Uuid
from breezeblock.api.schemas.services import Host
from breezeblock.resources.cleanup import RESOURCE_TYPES


class ServiceNumber(int):
    """A service's number, also as its digits."""

    @classmethod
    def read(cls, value: object) -> "ServiceNumber":
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 11:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        raise ValueError("expected a service's number")


class ResourceType(str):
    """Volume or Snapshot, in any case."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "ResourceType":
        if isinstance(value, str) and value.title() in RESOURCE_TYPES:
            return cls(value.title())
        raise ValueError(f"expected one of {', '.join(RESOURCE_TYPES)}")


class CleanUp(Struct, kw_only=True, forbid_unknown_fields=True):
    cluster_name: Host | None = None
    service_id: ServiceNumber | None = None
    host: Host | None = None
    binary: Literal["cinder-volume", "cinder-scheduler"] | None = None
    # As ever with this call: without a word, the services that are down.
    is_up: Flag | None = None
    disabled: Flag | None = None
    resource_id: Uuid | None = None
    resource_type: ResourceType | None = None
