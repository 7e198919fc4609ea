"""Errors, few, named after what the caller can do about them.

    BreezeblockError
    ├── Rejected            the request cannot be; its message is for the user
    │   ├── BadRequest        the request itself is wrong
    │   ├── InvalidState      the resource is not in a state that allows it
    │   ├── Forbidden         not this caller
    │   ├── NotFound          no such thing, or not for this caller
    │   ├── Conflict          something else holds or already is it
    │   ├── OverQuota         a limit of the project
    │   ├── NotYet            the service has just been installed, or is still being upgraded
    │   ├── StillRunning      it is accepted and under way, for longer than a request waits
    │   └── StorageFailed     the operation that was waited for has failed
    ├── Contended           run the whole transaction again
    ├── Ambiguous           the commit may or may not have happened: look before running again
    ├── Unavailable         the database cannot be reached now; try later
    ├── Fenced              this node no longer owns the operation: stop at once, touch nothing
    ├── Cancelled           the operation was cancelled by a later request: undo and finish
    └── BackendFailed       the storage said no; the operation fails, its message is for the user

`api/errors.py` is the one table that turns the first branch and Unavailable into HTTP.
"""

__all__ = [
    "Ambiguous",
    "BackendFailed",
    "BadRequest",
    "BreezeblockError",
    "Cancelled",
    "Conflict",
    "Contended",
    "Fenced",
    "Forbidden",
    "InvalidState",
    "NotFound",
    "NotYet",
    "OverQuota",
    "Rejected",
    "StillRunning",
    "StorageFailed",
    "Unavailable",
]


class BreezeblockError(Exception):
    """Root of all errors that we raise on purpose."""


class Rejected(BreezeblockError):
    """The request cannot be done as asked. `message` is a sentence for the user and names the value at fault."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Rejected):
    """The request itself is wrong, whatever the state of things."""


class InvalidState(Rejected):
    """The resource is not in a state that allows this now."""


class Forbidden(Rejected):
    """This caller may not do that."""


class NotFound(Rejected):
    """There is no such thing, or it is not this caller's."""


class Conflict(Rejected):
    """Something else already is, or holds, what was asked for."""


class OverQuota(Rejected):
    """A limit of the project would be exceeded."""

    def __init__(self, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotYet(Rejected):
    """The service cannot do it yet, and soon will: no backend has ever reported, or nodes are still to be upgraded."""


class StillRunning(Rejected):
    """What was asked for is accepted and under way, and takes longer than a request may wait."""


class StorageFailed(Rejected):
    """The operation whose result was waited for has failed; `message` is what it left for the user."""


class Contended(BreezeblockError):
    """The transaction lost against another one and left nothing behind; run it again as a whole."""


class Ambiguous(BreezeblockError):
    """The commit's answer was lost. Only a look for the transaction's id tells whether it happened."""


class Unavailable(BreezeblockError):
    """The database cannot be reached, or not in time. Nothing was accepted that will not be carried out."""


class Fenced(BreezeblockError):
    """This node lost the operation to a survivor. Whatever it still knows of it is worthless; it must stop."""


class Cancelled(BreezeblockError):
    """A later request cancelled the operation that is running here."""


class BackendFailed(BreezeblockError):
    """The storage refused or failed. `message` is shown to the user; `detail_id` names it in user messages."""

    def __init__(self, message: str, *, detail_id: str = "driver_failed") -> None:
        super().__init__(message)
        self.message = message
        self.detail_id = detail_id
