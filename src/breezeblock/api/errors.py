"""Exceptions to HTTP: one table, and the form in which clients of this API expect failures.

The body is `{"itemNotFound": {"code": 404, "message": "…"}}`; the outer key follows from the status alone.
"""

from typing import Final, NamedTuple

import msgspec
from starlette.responses import Response

from breezeblock.model import errors
from breezeblock.resources.volume_edits import EtagMismatch

FAULT_NAMES: Final = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
OTHER_FAULT: Final = "computeFault"  # what clients know every other status as

# Long enough for a fail-over of the database to be noticed by the next try, short enough to be waited for.
RETRY_AFTER_S: Final = 2

BROKEN: Final = "The service failed in a way that it did not expect; its log has the request id of this answer."
UNREACHABLE: Final = "The database cannot be reached, or not in time. Nothing was changed; try again."


class Refused(Exception):
    """A refusal by the HTTP layer itself, before any domain code ran: unknown URL, method, version, media type."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Fault(NamedTuple):
    """How one kind of exception is answered. A fixed message replaces the exception's own, which is not for users."""

    status: int
    message: str | None = None
    retry_after_s: int | None = None


# The closest class in an exception's ancestry counts.
FAULTS: Final[dict[type[Exception], Fault]] = {
    errors.BadRequest: Fault(400),
    errors.InvalidState: Fault(400),
    errors.Forbidden: Fault(403),
    errors.NotFound: Fault(404),
    errors.Conflict: Fault(409),
    EtagMismatch: Fault(412),
    errors.OverQuota: Fault(413, retry_after_s=0),
    errors.NotYet: Fault(503, retry_after_s=RETRY_AFTER_S),
    errors.StorageFailed: Fault(500),
    errors.StillRunning: Fault(504),
    errors.Contended: Fault(503, UNREACHABLE, retry_after_s=RETRY_AFTER_S),
    errors.Ambiguous: Fault(
        503, "Whether the request took effect is not known; look before you repeat it.", retry_after_s=RETRY_AFTER_S
    ),
    errors.Unavailable: Fault(503, UNREACHABLE, retry_after_s=RETRY_AFTER_S),
}


# What `answer_for` answers; anything else is a mistake of ours.
ANSWERED: Final[tuple[type[Exception], ...]] = (Refused, *FAULTS)


def answer_for(error: Exception) -> Response:
    """The answer for one of ANSWERED."""
    if isinstance(error, Refused):
        return fault(error.status, error.message, headers=error.headers)
    found = next(FAULTS[kind] for kind in type(error).__mro__ if kind in FAULTS)
    message = found.message if found.message is not None else getattr(error, "message", str(error))
    retry_after_s = getattr(error, "retry_after_s", found.retry_after_s)
    return fault(found.status, message, retry_after_s=retry_after_s)


def fault(
    status: int, message: str, *, retry_after_s: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    """A failure in this API's form."""
    inner: dict[str, object] = {"code": status, "message": message}
    headers = dict(headers or {})
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
        if status == 413:
            inner["retryAfter"] = str(retry_after_s)
    body = msgspec.json.encode({FAULT_NAMES.get(status, OTHER_FAULT): inner})
    return Response(body, status, headers, media_type="application/json")
