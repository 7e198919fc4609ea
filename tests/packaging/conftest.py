"""What the tests of installations share."""

from tests.servers.conftest import a_postgresql
from tests.service import running_service

__all__ = ["a_postgresql", "running_service"]
