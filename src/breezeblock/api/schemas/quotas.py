"""Bodies of quota requests: limits by resource. Which resources there are, the transaction knows."""

import json
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from breezeblock.model.errors import BadRequest

LIMIT_MAX: Final = 2**31 - 1
# What old clients send along with the limits.
NOT_LIMITS: Final = ("tenant_id", "id")


class Limit(int):
    """A limit, as a number or as its digits; -1 is unlimited."""

    @classmethod
    def read(cls, value: object) -> "Limit":
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) <= len(str(LIMIT_MAX)) + 1:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= LIMIT_MAX:
            return cls(value)
        raise ValueError(f"expected a whole number, -1 (unlimited) to {LIMIT_MAX}")


class QuotaSetBody(Struct, kw_only=True, forbid_unknown_fields=True):
    quota_set: Annotated[dict[str, Any], Meta(min_length=1)]

    def limits(self) -> dict[str, int]:
        """The limits alone. Raises BadRequest."""
        limits = {}
        for resource, value in self.quota_set.items():
            if resource in NOT_LIMITS:
                continue
            try:
                limits[resource] = int(Limit.read(value))
            except ValueError as error:
                raise BadRequest(f"Invalid quota_set.{resource} = {json.dumps(value)[:80]}: {error}.") from error
        return limits


class QuotaClassSetBody(Struct, kw_only=True, forbid_unknown_fields=True):
    quota_class_set: dict[Annotated[str, Meta(min_length=1, max_length=300)], Limit]
