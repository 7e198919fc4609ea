"""Bodies of volume type requests, their extra specs and their access list."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from breezeblock.api.schemas.fields import KEY_FORM, Description, Flag

SPEC_KEY_FORM: Final = r"^[a-zA-Z0-9\-_:.]{1,255}$"

# Not only white space: a name has to be something that can be typed and seen.
TypeName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
SpecValue = Annotated[str, Meta(max_length=255)] | None
# A new type's keys may have spaces and slashes; later ones become parts of URLs and may not.
Specs = dict[Annotated[str, Meta(pattern=KEY_FORM)], SpecValue]
MoreSpecs = dict[Annotated[str, Meta(pattern=SPEC_KEY_FORM)], SpecValue]
OneSpec = Annotated[MoreSpecs, Meta(min_length=1, max_length=1)]


class CreateType(Struct, kw_only=True, forbid_unknown_fields=True):
    name: TypeName
    description: Description | None = None
    extra_specs: Specs = {}
    is_public: Flag = field(name="os-volume-type-access:is_public", default_factory=lambda: Flag(1))


class CreateTypeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_type: CreateType


class UpdateType(Struct, kw_only=True, forbid_unknown_fields=True):
    name: TypeName | None = None
    description: Description | None = None
    is_public: Flag | None = None


class UpdateTypeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_type: UpdateType


class ExtraSpecsBody(Struct, kw_only=True, forbid_unknown_fields=True):
    extra_specs: MoreSpecs
