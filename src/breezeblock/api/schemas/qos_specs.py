"""Bodies of requests about quality of service."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from breezeblock.api.schemas.fields import KEY_FORM
from breezeblock.api.schemas.types import SpecValue
from breezeblock.model.errors import BadRequest
from breezeblock.resources.qos_specs import BACK_END, CONSUMERS

NAME_MAX: Final = 255
# The two that are no limits.
NAME: Final = "name"
CONSUMER: Final = "consumer"


# A new one may have any keys; later ones are held to a form.
NewSpecs = dict[Annotated[str, Meta(min_length=1, max_length=255)], SpecValue]
MoreSpecs = dict[Annotated[str, Meta(pattern=KEY_FORM)], SpecValue]


class CreateQosBody(Struct, kw_only=True, forbid_unknown_fields=True):
    qos_specs: NewSpecs

    def name(self) -> str:
        """Raises BadRequest."""
        name = (self.qos_specs.get(NAME) or "").strip()
        if not 0 < len(name) <= NAME_MAX:
            raise BadRequest(f"Invalid qos_specs.name = {name!r}: expected a text of 1 to {NAME_MAX} characters.")
        return name

    def consumer(self) -> str:
        """Raises BadRequest."""
        return consumer_of(self.qos_specs) or BACK_END

    def specs(self) -> dict[str, str | None]:
        return without(self.qos_specs, NAME, CONSUMER)


class UpdateQosBody(Struct, kw_only=True, forbid_unknown_fields=True):
    qos_specs: MoreSpecs

    def consumer(self) -> str | None:
        """Raises BadRequest."""
        return consumer_of(self.qos_specs)

    def specs(self) -> dict[str, str | None]:
        return without(self.qos_specs, CONSUMER)


class DeleteKeysBody(Struct, kw_only=True, forbid_unknown_fields=True):
    keys: list[Annotated[str, Meta(min_length=1, max_length=255)]]

    def distinct(self) -> list[str]:
        """The keys. Raises BadRequest when one is named twice."""
        if len(set(self.keys)) < len(self.keys):
            raise BadRequest("Invalid keys: one of them is named twice, expected each key once.")
        return self.keys


def consumer_of(specs: dict[str, Any]) -> str | None:
    """The consumer among the specs, if there is one. Raises BadRequest."""
    value = specs.get(CONSUMER)
    if value is None:
        return None
    if value not in CONSUMERS:
        raise BadRequest(f"Invalid qos_specs.consumer = {value!r}: expected one of {', '.join(CONSUMERS)}.")
    return str(value)


def without(specs: dict[str, str | None], *names: str) -> dict[str, str | None]:
    return {key: value for key, value in specs.items() if key not in names}
