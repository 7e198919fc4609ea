"""Body of an operator's word that a node is dead."""

from msgspec import Struct

from breezeblock.api.schemas.services import Host


class FenceNode(Struct, kw_only=True, forbid_unknown_fields=True):
    host: Host
    confirm: bool = False
