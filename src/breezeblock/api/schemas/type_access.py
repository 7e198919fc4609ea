"""The body of the two actions on a type's access list."""

from typing import Annotated

from msgspec import Meta, Struct


class ProjectAccess(Struct, kw_only=True, forbid_unknown_fields=True):
    project: Annotated[str, Meta(min_length=1, max_length=255)]
