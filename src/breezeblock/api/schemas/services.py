"""Bodies of requests that enable and disable services."""

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
