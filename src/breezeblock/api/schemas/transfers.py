"""Bodies of requests about volume transfers."""

from typing import Annotated

from msgspec import Meta, Struct

from breezeblock.api.schemas.fields import Flag, Name, Uuid


class CreateTransfer(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_id: Uuid
    name: Name | None = None


class CreateTransferBody(Struct, kw_only=True, forbid_unknown_fields=True):
    transfer: CreateTransfer


class CreateTransferWithSnapshots(CreateTransfer, kw_only=True, forbid_unknown_fields=True):
    no_snapshots: Flag | None = None


class CreateTransferWithSnapshotsBody(Struct, kw_only=True, forbid_unknown_fields=True):
    transfer: CreateTransferWithSnapshots


class AcceptTransfer(Struct, kw_only=True, forbid_unknown_fields=True):
    # A number too: a key may consist of digits only, and some clients send what they make of that.
    auth_key: Annotated[str, Meta(max_length=255)] | int


class AcceptTransferBody(Struct, kw_only=True, forbid_unknown_fields=True):
    accept: AcceptTransfer
