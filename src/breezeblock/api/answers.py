"""The few forms of successful answers."""

import msgspec
from starlette.responses import Response

_encode = msgspec.json.Encoder().encode


def json(content: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON; parts of it may be `msgspec.Raw`, which is JSON already."""
    return Response(_encode(content), status, headers, media_type="application/json")


def empty(status: int = 202) -> Response:
    return Response(b"", status)
