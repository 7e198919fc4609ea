"""A transaction on an empty database in memory, for tests of one transaction alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.resources import types
from breezeblock.store import tables
from breezeblock.store.dialects import open_engine

NOW_US = 1_700_000_000_000_000


@contextmanager
def open_tx() -> Iterator[Connection]:
    engine = open_engine("sqlite://", now_us=lambda: NOW_US)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        tables.metadata.create_all(connection)
        types.ensure_default_type(connection)
        yield connection
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()


def origin(*, is_admin: bool = True, project_id: str = "p1") -> Origin:
    return Origin(
        project_id=ProjectId(project_id),
        user_id=UserId("u"),
        is_admin=is_admin,
        request_id="req-1",
        at_us=NOW_US,
        operation_id=OperationId("o"),
        message_id=MessageId("m"),
    )
