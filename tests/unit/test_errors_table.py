"""Exceptions to HTTP: every error that a caller can meet has its line in the one table."""

import json
from typing import Any

import pytest

from breezeblock.api.errors import ANSWERED, FAULT_NAMES, FAULTS, Refused, answer_for
from breezeblock.model import errors

# What never leaves a node: the API runs no operations.
INSIDE = {errors.Fenced, errors.Cancelled, errors.BackendFailed}

CELLS: list[tuple[Exception, int, str, str | None, str | None]] = [
    # the error, status, outer key, message (None: a fixed one of ours), Retry-After
    (errors.BadRequest("Why."), 400, "badRequest", "Why.", None),
    (errors.InvalidState("Why."), 400, "badRequest", "Why.", None),
    (errors.Forbidden("Why."), 403, "forbidden", "Why.", None),
    (errors.NotFound("Why."), 404, "itemNotFound", "Why.", None),
    (errors.Conflict("Why."), 409, "conflictingRequest", "Why.", None),
    (errors.OverQuota("Why."), 413, "overLimit", "Why.", "0"),
    (errors.OverQuota("Why.", retry_after_s=9), 413, "overLimit", "Why.", "9"),
    (errors.StorageFailed("Why."), 500, "computeFault", "Why.", None),
    (errors.StillRunning("Why."), 504, "computeFault", "Why.", None),
    (errors.Contended("secret"), 503, "serviceUnavailable", None, "2"),
    (errors.Ambiguous("secret"), 503, "serviceUnavailable", None, "2"),
    (errors.Unavailable("secret"), 503, "serviceUnavailable", None, "2"),
    (Refused(405, "Why.", headers={"Allow": "GET"}), 405, "badMethod", "Why.", None),
    (Refused(418, "Why."), 418, "computeFault", "Why.", None),
]


def leaves(kind: type[Exception]) -> set[type[Exception]]:
    """The classes below one that have none below themselves; what stays inside is one, whatever storage makes of it."""
    below = [] if kind in INSIDE else kind.__subclasses__()
    return {kind} if not below else {leaf for child in below for leaf in leaves(child)}


def body_of(error: Exception) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bytes(answer_for(error).body))
    return body


@pytest.mark.parametrize(("error", "status", "key", "message", "retry_after"), CELLS, ids=lambda cell: repr(cell)[:40])
def test_an_error_is_answered_as_clients_expect(
    error: Exception, status: int, key: str, message: str | None, retry_after: str | None
) -> None:
    """Status, the outer key that follows from it, the message and when to come back."""
    answer = answer_for(error)
    ((outer, inner),) = body_of(error).items()

    assert (answer.status_code, outer, inner["code"]) == (status, key, status)
    assert answer.headers.get("Retry-After") == retry_after
    assert message is None or inner["message"] == message


@pytest.mark.parametrize("kind", [errors.Contended, errors.Ambiguous, errors.Unavailable])
def test_what_the_database_said_is_not_for_users(kind: type[Exception]) -> None:
    """It may name tables and machines."""
    assert "secret" not in json.dumps(body_of(kind("secret")))


def test_every_error_of_ours_has_a_line_or_stays_inside() -> None:
    """A new one cannot be forgotten."""
    ours = {kind for kind in leaves(errors.BreezeblockError) if kind.__module__ == errors.__name__}

    assert {kind for kind in ours if not issubclass(kind, ANSWERED)} == INSIDE


def test_every_error_of_ours_is_listed_and_drawn() -> None:
    """In `__all__` and in the tree of the module's docstring."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert set(errors.__all__) == names
    assert [name for name in names if name not in (errors.__doc__ or "")] == []


def test_every_line_has_a_status_that_clients_know() -> None:
    """But for the one of preconditions, which came later than their list, and what went wrong behind us."""
    assert {fault.status for fault in FAULTS.values()} - FAULT_NAMES.keys() == {412, 500, 504}
