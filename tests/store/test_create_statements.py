"""How many statements a request for a volume makes others wait for: those after it holds the row of its type."""

from collections.abc import Iterator

import pytest
from tests import databases
from tests.store import given
from tests.store.given import Base


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(given.ME)
    base.pool()
    yield base
    base.close()


def test_a_create_holds_the_row_that_all_creates_need_for_few_statements(base: Base) -> None:
    """Pools and limits are read before. Afterwards: the type again, pool, accounts and limits, and three new rows."""
    given.create_volume(base, "v1")  # makes the accounts

    with databases.statements() as seen:
        given.create_volume(base, "v2")

    first = next(i for i, statement in enumerate(seen) if statement.startswith("UPDATE volume_types"))
    assert sum(statement.startswith("UPDATE pools") for statement in seen[first:]) == 1
    assert not [statement for statement in seen[first:] if "FROM pools" in statement or "FROM nodes" in statement]
    assert len(seen[first + 1 :]) == 7, seen[first + 1 :]


def test_the_limits_of_a_volume_are_two_questions(base: Base) -> None:
    """How large it may be, by the project or by all; and what its accounts may come to."""
    with databases.statements() as seen:
        given.create_volume(base, "v1")

    asked = [statement for statement in seen if "per_volume_gigabytes" in statement or "quota_classes" in statement]
    assert len(asked) == 2, asked
