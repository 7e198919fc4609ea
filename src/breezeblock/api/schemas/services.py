"""Bodies of requests about services: enable, disable, freeze, thaw, fail over."""

from typing import Annotated

from msgspec import Meta, Struct

HOST_FORM = r"^[a-zA-Z0-9\-._#@:/+\[\]]*$"
Binary = Annotated[str, Meta(min_length=1, max_length=255)]
Host = Annotated[str, Meta(min_length=1, max_length=255, pattern=HOST_FORM)]
Reason = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]


class SwitchService(Struct, kw_only=True, forbid_unknown_fields=True):
    binary: Binary | None = None
    # The older name of `binary`, which wins.
    service: Binary | None = None
    host: Host | None = None
    # Taken and not looked at, as ever: clusters have URLs of their own.
    cluster: Annotated[str, Meta(max_length=255)] | None = None


class DisableService(SwitchService, kw_only=True, forbid_unknown_fields=True):
    disabled_reason: Reason | None = None


class FreezeBackend(Struct, kw_only=True, forbid_unknown_fields=True):
    host: Host | None = None
    cluster: Annotated[str, Meta(max_length=255)] | None = None


class FailOver(FreezeBackend, kw_only=True, forbid_unknown_fields=True):
    backend_id: Annotated[str, Meta(max_length=255)] | None = None
