"""Bodies of quota requests: limits by resource. Which resources there are, the transaction knows."""

import json
import re
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from breezeblock.model.errors import BadRequest

LIMIT_MAX: Final = 2**31 - 1
DIGITS: Final = re.compile(r"-?[0-9]{1,10}\Z")
SHOWN_MAX: Final = 80
# What old clients send along with the limits.
NOT_LIMITS: Final = ("tenant_id", "id")


class QuotaSetBody(Struct, kw_only=True, forbid_unknown_fields=True):
    quota_set: Annotated[dict[str, Any], Meta(min_length=1)]

    def limits(self) -> dict[str, int]:
        """The limits alone. Raises BadRequest."""
        given = {resource: value for resource, value in self.quota_set.items() if resource not in NOT_LIMITS}
        return _limits(given, "quota_set")


class QuotaClassSetBody(Struct, kw_only=True, forbid_unknown_fields=True):
    quota_class_set: dict[str, Any]

    def limits(self) -> dict[str, int]:
        """The limits. Raises BadRequest."""
        return _limits(self.quota_class_set, "quota_class_set")


def _limits(given: dict[str, Any], place: str) -> dict[str, int]:
    """Each limit may be a number or its digits; -1 is unlimited."""
    limits = {}
    for resource, value in given.items():
        number = int(value) if isinstance(value, str) and DIGITS.match(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not -1 <= number <= LIMIT_MAX:
            shown = json.dumps(value)[:SHOWN_MAX]
            raise BadRequest(
                f"Invalid {place}.{resource} = {shown}: expected a whole number, -1 (unlimited) to {LIMIT_MAX}."
            )
        limits[resource] = number
    return limits
