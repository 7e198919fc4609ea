"""Who asked, when, and under which ids: everything of a request that its transaction may use.

A transaction may run twice, so nothing in it draws an id or reads a clock: all of that is here, drawn before the
first attempt.
"""

import msgspec

from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request. `at_us` is the wall clock in microseconds since 1970, shown to users, never compared."""

    project_id: ProjectId
    user_id: UserId
    is_admin: bool
    request_id: str
    at_us: int
    operation_id: OperationId
    message_id: MessageId
