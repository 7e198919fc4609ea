"""Bodies of attachment requests, and of the older actions by which volumes are attached."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from breezeblock.api.schemas.fields import Text, Uuid, word_of
from breezeblock.resources.attachments import MODES


class Mode(str):
    """How a host may use a volume."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Mode":
        return cls(word_of(value, MODES))


class Connector(dict[str, Any]):
    """What a host says of itself, whatever that is: drivers know what they need of it."""

    @classmethod
    def read(cls, value: object) -> "Connector":
        if not isinstance(value, dict):
            raise ValueError("expected an object")
        return cls(value)


class LaxConnector(dict[str, Any]):
    """The same where older clients also send a text, which says nothing."""

    @classmethod
    def read(cls, value: object) -> "LaxConnector":
        if not isinstance(value, dict | str):
            raise ValueError("expected an object")
        return cls(value if isinstance(value, dict) else {})


class NewAttachment(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_uuid: Uuid
    instance_uuid: Uuid | None = None
    connector: Connector | None = None


class NewAttachmentWithMode(NewAttachment, kw_only=True, forbid_unknown_fields=True):
    mode: Mode | None = None


class CreateBody(Struct, kw_only=True, forbid_unknown_fields=True):
    attachment: NewAttachment


class CreateWithModeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    attachment: NewAttachmentWithMode


class Update(Struct, kw_only=True, forbid_unknown_fields=True):
    connector: Connector


class UpdateBody(Struct, kw_only=True, forbid_unknown_fields=True):
    attachment: Update


# --- the older actions: what is under the action's key ---------------------------------------------------------------


class Attach(Struct, kw_only=True, forbid_unknown_fields=True):
    mountpoint: Annotated[str, Meta(min_length=1, max_length=255)]
    instance_uuid: Uuid | None = None
    host_name: Text | None = None
    mode: Mode | None = None


class Detach(Struct, kw_only=True, forbid_unknown_fields=True):
    attachment_id: Uuid | None = None


class Connection(Struct, kw_only=True, forbid_unknown_fields=True):
    connector: LaxConnector


class Disconnection(Struct, kw_only=True, forbid_unknown_fields=True):
    connector: LaxConnector | None


class ForceDetach(Struct, kw_only=True, forbid_unknown_fields=True):
    attachment_id: Uuid | None = None
    connector: LaxConnector | None = None
