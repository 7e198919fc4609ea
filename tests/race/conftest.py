"""What the race tests share: real services on temporary folders."""

from tests.service import running_service

__all__ = ["running_service"]
