"""`breezeblock attach`: this host's attachment of a volume, made or found, connected, noted as complete.

Who dies after any line leaves what a repeat on the same host goes on with: the attachment that is found by the host's name; a
connection that the service has made or is making; a device that os-brick finds connected; and completing twice is the
same as once. `breezeblock detach` undoes it from anywhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from breezeblock.commands.api_client import Api, NotNow, Refused
from breezeblock.commands.attached_here import (
    READ_ONLY,
    Found,
    Patience,
    TooLong,
    at_once,
    attachments_of,
    find_volume,
    flags_held,
    held,
    let_go,
    mine_of,
    mode_of,
    told_of,
)
from breezeblock.commands.brick import Brick
from breezeblock.commands.failure import Failed
from breezeblock.commands.host_folder import HostFolder
from breezeblock.env import devices
from breezeblock.env.contract import Clock
from breezeblock.model import states

__all__ = ["HIDDEN", "Attached", "Wanted", "attach", "looked_at"]

HIDDEN: Final = "********"
# In the connector: however often the request for an attachment arrives, and however late, one comes of it.
ONCE: Final = {"once_per_host": True}
# Parts of the names of facts that let somebody in.
SECRETS: Final = ("password", "passphrase", "secret", "token", "keyring", "private_key")


class Wanted(NamedTuple):
    """What was asked for; no mode is the one that the volume allows."""

    volume: str
    host: str
    ip: str
    mode: str | None = None
    mountpoint: str | None = None
    wait_s: float = 120.0


class Attached(NamedTuple):
    """What there is then. `keeps_out` tells whether the kernel refuses to write to a volume that is only to be read."""

    attachment_id: str
    volume_id: str
    host: str
    mode: str
    device: str
    keeps_out: bool


class _Try:
    """One run of the command, with the volume held."""

    def __init__(self, api: Api, folder: HostFolder, wanted: Wanted, volume: Found, patience: Patience) -> None:
        self.api, self.folder, self.wanted, self.volume, self.patience = api, folder, wanted, volume, patience
        self.brick = Brick(folder.os_brick_locks)
        self.connector = self.brick.describe_host(host=wanted.host, ip=wanted.ip) | ONCE
        if wanted.mountpoint is not None:
            self.connector["mountpoint"] = wanted.mountpoint
        self.row: Found | None = None  # as soon as it is connected
        self.is_ours = False  # whether this run has made the attachment, or has asked for it

    # --- the attachment

    def connected(self) -> Found:
        """This host's attachment, when the service has connected it. Raises Failed."""
        while True:
            try:
                row = self.found()
                if row is None:
                    return self.created()
                self.require_mode(row["attach_mode"], row["id"])
                if row["status"] in (states.ATTACHING, states.ATTACHED) and row["connection_info"]:
                    return row
                return self.updated(row)
            except NotNow as error:
                self.patience.pause(str(error))

    def found(self) -> Found | None:
        """Raises Refused, NotNow, Failed."""
        mine = mine_of(self.api, self.volume["id"], self.wanted.host)
        if len(mine) > 1:
            raise Failed(
                f"Host {self.wanted.host} has several attachments of volume {self.volume['id']}: {told_of(mine)}; detach all "
                "but one by their ids."
            )
        return mine[0] if mine else None

    def created(self) -> Found:
        """Raises Refused, NotNow, Failed."""
        self.is_ours = True
        asked = {
            "volume_uuid": self.volume["id"],
            "connector": self.connector,
            "mode": self.wanted.mode or "rw",
        }
        try:
            made: Found = self.api.post("attachments", {"attachment": asked})["attachment"]
        except Refused as refused:
            # Perhaps because there is one by now: of a request that was taken for lost, and came after we had looked.
            if self.found() is not None:
                raise NotNow(refused.message) from refused
            raise
        return made

    def updated(self, row: Found) -> Found:
        """Join what connects it, or connect it anew. Raises Refused, NotNow."""
        if row["status"] == states.DETACHING:
            raise NotNow(f"Attachment {row['id']} of this host is being detached.")
        asked = {"attachment": {"connector": self.connector}}
        try:
            joined: Found = self.api.put(f"attachments/{row['id']}", asked)["attachment"]
        except Refused as refused:
            # By a run of before, which has described this host in other words.
            if refused.status == 409 and row["status"] == states.ATTACHING:
                raise NotNow(refused.message) from refused
            raise
        return joined

    def require_mode(self, mode: str, attachment_id: str) -> None:
        """Raises Failed when it is attached otherwise than was asked for."""
        if self.wanted.mode not in (None, mode):
            raise Failed(
                f"Volume {self.volume['id']} is attached to host {self.wanted.host} already, as {mode}, by {attachment_id}; "
                f"detach it before it is attached as {self.wanted.mode}."
            )

    # --- the device

    def used(self, row: Found) -> Attached:
        """Connect this host and say so. Raises Failed."""
        self.row = row
        device = self.brick.connect(row["connection_info"])
        _require_there(device["path"])
        self.folder.remember(row["id"], device)
        mode = mode_of(row)
        keeps_out = self.forbidden(device["path"], mode, is_new=row["status"] != states.ATTACHED)
        if row["status"] != states.ATTACHED:
            self.complete(row["id"])
        return Attached(row["id"], self.volume["id"], self.wanted.host, mode, device["path"], keeps_out)

    def forbidden(self, path: str, mode: str, *, is_new: bool) -> bool:
        """Whether the kernel refuses to write to it, as it does when it is only to be read. Raises Failed.

        One that is written to may be a device that was another volume's, and was read-only then.
        """
        with flags_held(self.folder, self.patience):
            try:
                if mode == READ_ONLY:
                    return devices.forbid_writing(Path(path))
                if is_new:
                    devices.permit_writing(Path(path))
            except OSError as error:
                raise Failed(
                    f"{path} cannot be made {'read-only' if mode == READ_ONLY else 'writable'} ({error.strerror}); only root "
                    "may do that."
                ) from error
        return False

    def complete(self, attachment_id: str) -> None:
        """Raises Refused, TooLong."""
        path = f"attachments/{attachment_id}/action"
        try:
            self.patience.insist(lambda: self.api.post(path, {"os-complete": {}}))
        except Refused as refused:
            # Somebody has detached it meanwhile: no attachment tells of the device any more, which so has to go now.
            self.is_ours = self.is_ours or refused.status == 404
            raise

    def undo(self) -> None:
        """Leave nothing of what this run has begun. Raises Failed."""
        there = self.patience.insist(lambda: mine_of(self.api, self.volume["id"], self.wanted.host))
        # What is complete is used by somebody of this name: completing is the last that any run does.
        complete = {row["id"] for row in there if row["status"] == states.ATTACHED}
        begun = {row["id"]: row for row in there}
        if self.row is not None and self.row["status"] != states.ATTACHED:
            begun[self.row["id"]] = self.row
        for row in [row for id_, row in begun.items() if id_ not in complete]:
            let_go(self.api, self.folder, row, self.patience, force=True)


def attach(api: Api, folder: HostFolder, wanted: Wanted, *, clock: Clock) -> Attached:
    """Attach a volume to this host, or find it attached. What fails leaves nothing behind, if it can. Raises Failed."""
    patience = Patience(clock, wanted.wait_s)
    volume = find_volume(api, wanted.volume)
    if wanted.mode == "rw" and volume["metadata"].get("readonly") == "True":
        raise Failed(f"Volume {volume['id']} may only be read: leave out --mode, or say --mode ro.")
    with held(folder, volume["id"], patience):
        one = _Try(api, folder, wanted, volume, patience)
        try:
            return one.used(one.connected())
        except TooLong:
            raise
        except (Failed, Refused) as failed:
            if one.is_ours:
                _undo(one, failed)
            raise Failed(str(failed)) from failed


def _undo(one: _Try, failed: Exception) -> None:
    try:
        one.undo()
    except (Failed, Refused) as error:
        raise Failed(
            f"{failed} What was begun is still there ({error}): run this again, or `breezeblock detach {one.volume['id']}`."
        ) from failed


def _require_there(path: str) -> None:
    """Of a file os-brick believes the service that it is on this host, and that we may use it. Raises Failed."""
    try:
        Path(path).stat()
    except OSError as error:
        raise Failed(
            f"{path} cannot be used on this host ({error.strerror}). A volume that is a file can be attached only where the "
            "service keeps it, by those who may open it."
        ) from error


# --- looking ----------------------------------------------------------------------------------------------------------


def looked_at(api: Api, folder: HostFolder, wanted: str, *, host: str, secrets: bool) -> list[Found]:
    """Every attachment of a volume, with what there is to know of it. Nothing is made or connected. Raises Failed."""
    volume = find_volume(api, wanted)
    hosts = {one["attachment_id"]: one["host_name"] for one in volume["attachments"]}
    try:
        rows = at_once(lambda: attachments_of(api, volume["id"]))
        mine = {one["id"] for one in at_once(lambda: mine_of(api, volume["id"], host))}
    except Refused as refused:
        raise Failed(refused.message) from refused
    return [
        {
            "attachment_id": row["id"],
            "volume_id": row["volume_id"],
            "status": row["status"],
            "mode": row["attach_mode"],
            "server": row["instance"],
            "host": host if row["id"] in mine else hosts.get(row["id"]),
            "device": (folder.recall(row["id"]) or {}).get("path") if row["id"] in mine else None,
            "connection_info": row["connection_info"] if secrets else without_secrets(row["connection_info"]),
        }
        for row in rows
    ]


def without_secrets(said: Any) -> Any:
    """The same, with stars for whatever lets somebody in."""
    if isinstance(said, Mapping):
        return {
            key: HIDDEN if value and any(word in str(key).lower() for word in SECRETS) else without_secrets(value)
            for key, value in said.items()
        }
    if isinstance(said, list):
        return [without_secrets(one) for one in said]
    return said
