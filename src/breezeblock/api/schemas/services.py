"""Bodies of requests about services: enable, disable, freeze, thaw, fail over, log levels."""

from typing import Annotated

from msgspec import Meta, Struct

from breezeblock.logs import LEVELS
from breezeblock.resources.log_levels import BINARIES

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


class LogBinary(str):
    """A service whose log levels are meant, or all of them."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "LogBinary":
        if value in ("", "*"):
            return cls("")
        if isinstance(value, str) and value in BINARIES:
            return cls(value)
        raise ValueError(f"expected one of {', '.join(BINARIES)}, or * for all")


class LogLevel(str):
    """A level of the standard library, in any case."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "LogLevel":
        if isinstance(value, str) and value.upper() in LEVELS:
            return cls(value.upper())
        raise ValueError(f"expected one of {', '.join(LEVELS)}")


class GetLog(Struct, kw_only=True, forbid_unknown_fields=True):
    binary: LogBinary | None = None
    server: Annotated[str, Meta(max_length=255)] | None = None
    prefix: Annotated[str, Meta(max_length=255)] | None = None


class SetLog(GetLog, kw_only=True, forbid_unknown_fields=True):
    level: LogLevel


class FreezeBackend(Struct, kw_only=True, forbid_unknown_fields=True):
    host: Host | None = None
    cluster: Annotated[str, Meta(max_length=255)] | None = None


class FailOver(FreezeBackend, kw_only=True, forbid_unknown_fields=True):
    backend_id: Annotated[str, Meta(max_length=255)] | None = None
