"""The options of `[limits]`: how much of everything a client may use. Those of the sizes of requests are constants."""

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Limits"]

PerSecond = Annotated[int, Meta(ge=0, le=1_000_000)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reads_per_s: Annotated[
        PerSecond, Meta(description="Requests a second of one project that only read; 0 is no limit.")
    ] = 0
    reads_burst: Annotated[PerSecond, Meta(description="So many at once; 0 is those of a second.")] = 0
    writes_per_s: Annotated[
        PerSecond, Meta(description="Requests a second of one project that change something; 0 is no limit.")
    ] = 0
    writes_burst: Annotated[PerSecond, Meta(description="So many at once; 0 is those of a second.")] = 0
    address_per_s: Annotated[
        PerSecond,
        Meta(description="Requests a second of one address (IPv6: a /64), before anybody is known; 0 is no limit."),
    ] = 0
    address_burst: Annotated[PerSecond, Meta(description="So many at once; 0 is those of a second.")] = 0
    connections: Annotated[
        int, Meta(ge=16, le=65_536, description="Connections that one API process holds; more wait in the kernel.")
    ] = 1024
    header_timeout_s: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="How long a connection may take for the headers of a request, or be idle."),
    ] = 30.0
    body_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="How long a request may take for the whole of its body.")
    ] = 30.0
    unread_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="How long a client may leave an answer in the network, unread.")
    ] = 60.0
