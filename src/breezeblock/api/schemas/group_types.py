"""Bodies of group type requests and of their specs."""

from typing import Annotated

from msgspec import Meta, Struct, field

from breezeblock.api.schemas.fields import KEY_FORM, Description, Flag
from breezeblock.api.schemas.types import SPEC_KEY_FORM, SpecValue, TypeName

Specs = dict[Annotated[str, Meta(pattern=KEY_FORM)], SpecValue]
MoreSpecs = dict[Annotated[str, Meta(pattern=SPEC_KEY_FORM)], SpecValue]
OneSpec = Annotated[MoreSpecs, Meta(min_length=1, max_length=1)]


class CreateGroupType(Struct, kw_only=True, forbid_unknown_fields=True):
    name: TypeName
    description: Description | None = None
    is_public: Flag = field(default_factory=lambda: Flag(1))
    group_specs: Specs = {}


class CreateGroupTypeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group_type: CreateGroupType


class UpdateGroupType(Struct, kw_only=True, forbid_unknown_fields=True):
    name: TypeName | None = None
    description: Description | None = None
    is_public: Flag | None = None


class UpdateGroupTypeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group_type: UpdateGroupType


class GroupSpecsBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group_specs: MoreSpecs
