"""The body that says what type a project's volumes get by default."""

from msgspec import Struct

from breezeblock.api.schemas.types import TypeName


class DefaultType(Struct, kw_only=True, forbid_unknown_fields=True):
    # A name or an id.
    volume_type: TypeName


class DefaultTypeBody(Struct, kw_only=True):
    default_type: DefaultType
