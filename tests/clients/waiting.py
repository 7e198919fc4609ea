"""Waiting with cinderclient, as its users do: asking until it is so."""

from typing import Any

from cinderclient import exceptions
from tests.service import eventually


def settled(manager: Any, resource: Any, status: str = "available", *, within_s: float = 20.0) -> Any:
    """The resource as soon as it has the status."""

    def there() -> Any:
        found = manager.get(resource.id)
        return found if found.status == status else None

    return eventually(there, within_s=within_s, message=f"{resource.id} is not {status}")


def gone(manager: Any, resource: Any) -> None:
    """Return when the resource is not found any more."""

    def missing() -> bool:
        try:
            manager.get(resource.id)
        except exceptions.NotFound:
            return True
        return False

    eventually(missing, message=f"{resource.id} is still there")
