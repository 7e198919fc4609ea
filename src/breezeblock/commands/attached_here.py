"""What `attach` and `detach` have in common: the volume, this host's attachment of it, patience, and letting go.

An attachment that these commands make has no server and the name of this host. By that a repeat finds it, after whatever end of
the first try, and no second one is made.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from breezeblock.commands.api_client import Api, NotNow, Refused
from breezeblock.commands.brick import Brick
from breezeblock.commands.failure import Failed
from breezeblock.commands.host_folder import HostFolder
from breezeblock.env import devices
from breezeblock.env.contract import Clock
from breezeblock.model.ids import is_uuid

__all__ = [
    "READ_ONLY",
    "Patience",
    "TooLong",
    "at_once",
    "attachments_of",
    "find_volume",
    "flags_held",
    "held",
    "let_go",
    "mine_of",
    "mode_of",
    "remove",
    "told_of",
    "writable_again",
]

T = TypeVar("T")
Found = dict[str, Any]

PAUSE_FIRST_S: Final = 0.2
PAUSE_MOST_S: Final = 2.0
READ_ONLY: Final = "ro"
# No id: the lock of those who tell the kernel which devices may be written to.
FLAGS: Final = "flags"


class TooLong(Failed):
    """Nobody knows yet: what was asked for goes on."""


class Patience:
    """How long all of a command may wait."""

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._clock = clock
        self._until = clock.boottime() + wait_s
        self._wait_s = wait_s
        self._pause_s = PAUSE_FIRST_S

    def pause(self, because: str) -> None:
        """Raises TooLong."""
        left_s = self._until - self._clock.boottime()
        if left_s <= 0:
            raise TooLong(
                f"{_sentence(because)} It has not ended within {self._wait_s:g} s, and goes on: run this "
                "again to wait for it, or give --wait more seconds."
            )
        asyncio.run(self._clock.sleep(min(self._pause_s, left_s)))
        self._pause_s = min(self._pause_s * 2, PAUSE_MOST_S)

    def insist(self, ask: Callable[[], T]) -> T:
        """Ask until somebody knows. Raises Refused, TooLong."""
        while True:
            try:
                return ask()
            except NotNow as error:
                self.pause(str(error))


def held(folder: HostFolder, volume_id: str, patience: Patience) -> AbstractContextManager[None]:
    """While no other command of this host attaches or detaches this volume. Raises TooLong."""
    return _held(folder, volume_id, patience, f"is attaching or detaching volume {volume_id}")


def flags_held(folder: HostFolder, patience: Patience) -> AbstractContextManager[None]:
    """While no other command of this host says which devices may be written to. Raises TooLong.

    The name of a device may be the next volume's as soon as it is disconnected: that one notes the device first, and says then.
    """
    return _held(folder, FLAGS, patience, "is saying which devices may be written to")


@contextmanager
def _held(folder: HostFolder, key: str, patience: Patience, does: str) -> Iterator[None]:
    folder.make()
    while (lock := folder.try_lock(key)) is None:
        patience.pause(f"Another command on this host {does}.")
    try:
        yield
    finally:
        lock.release()


# --- what the service knows -----------------------------------------------------------------------------------------


def at_once(ask: Callable[[], T]) -> T:
    """The first question of a command: a service that is not there is told at once. Raises Refused, Failed."""
    try:
        return ask()
    except NotNow as error:
        raise Failed(f"{_sentence(str(error))} Is the service running there? --api says where it is.") from error


def find_volume(api: Api, wanted: str) -> Found:
    """The volume of that id or name. Raises Failed; and at once when the service is not there."""
    try:
        if is_uuid(wanted):
            found: Found = at_once(lambda: api.get(f"volumes/{wanted}"))["volume"]
            return found
        named: list[Found] = at_once(lambda: api.get("volumes/detail", name=wanted, limit="2"))["volumes"]
    except Refused as refused:
        if refused.status != 404:
            raise Failed(refused.message) from refused
        raise Failed(
            f"Volume {wanted} could not be found in project {api.project}; --project says which one."
        ) from refused
    if not named:
        raise Failed(f"No volume of project {api.project} is called {wanted!r}; --project says which one.")
    if len(named) > 1:
        ids = " and ".join(one["id"] for one in named)
        raise Failed(
            f"Several volumes of project {api.project} are called {wanted!r}, such as {ids}; say which by its id."
        )
    return named[0]


def attachments_of(api: Api, volume_id: str) -> list[Found]:
    """All of a volume. Raises Refused, NotNow."""
    found: list[Found] = api.get("attachments/detail", volume_id=volume_id)["attachments"]
    return found


def mine_of(api: Api, volume_id: str, host: str) -> list[Found]:
    """Those of this host itself, not of servers that run on it. Raises Refused, NotNow."""
    found: list[Found] = api.get("attachments/detail", volume_id=volume_id, attached_host=host)["attachments"]
    return [one for one in found if one["instance"] is None]


def told_of(found: list[Found]) -> str:
    """Attachments by their ids, and who has them."""
    return ", ".join(f"{one['id']} ({one['status']}{_of_server(one)})" for one in found)


def _of_server(one: Found) -> str:
    return f", server {one['instance']}" if one["instance"] else ""


# --- what is on this host -------------------------------------------------------------------------------------------


def let_go(api: Api, folder: HostFolder, row: Found, patience: Patience, *, force: bool) -> None:
    """Disconnect this host, then delete its attachment. Every part finds done what was done. Raises Failed.

    In this order: storage that is taken away from under a device leaves what was not written back nowhere to go.
    """
    if row["connection_info"]:
        disconnect(folder, row, patience, force=force)
    remove(api, row["id"], patience)
    folder.forget(row["id"])  # also what was never connected, or by whom nobody knows


def remove(api: Api, attachment_id: str, patience: Patience) -> None:
    """Delete an attachment, or find it deleted. Raises Failed."""
    try:
        patience.insist(lambda: api.delete(f"attachments/{attachment_id}"))
    except Refused as refused:
        if refused.status != 404:
            raise Failed(f"Attachment {attachment_id} is not deleted: {refused.message}") from refused


def mode_of(row: Found) -> str:
    """Whether this host writes to a connected volume."""
    mode: str = row["connection_info"].get("access_mode", row["attach_mode"])
    return mode


def disconnect(folder: HostFolder, row: Found, patience: Patience, *, force: bool) -> None:
    """Take the device off this host, or find that done. Raises Failed (it is used, or cannot be written back), TooLong."""
    brick = Brick(folder.os_brick_locks)
    device = folder.recall(row["id"])
    connection = row["connection_info"]
    paths = _paths(brick, connection, device, force=force)
    for path in paths:
        _free(path, force=force)
    brick.disconnect(connection, device, force=force)
    folder.forget(row["id"])  # at once: the kernel may call another volume's device by that name next
    if mode_of(row) == READ_ONLY:
        # Only now: until then it leads to the volume, and somebody may be waiting to write to it.
        writable_again(folder, row["id"], paths, patience, force=force)


def writable_again(
    folder: HostFolder, attachment_id: str, paths: Iterable[Path], patience: Patience, *, force: bool
) -> None:
    """Of devices that outlive what they were connected to: the next may write. Raises Failed, TooLong.

    Unless the next is there already: it has noted the device before it said whether it writes.
    """
    with flags_held(folder, patience):
        taken = {os.path.realpath(path) for path in folder.noted(but=attachment_id)}
        for path in paths:
            if os.path.realpath(path) in taken:
                continue
            try:
                devices.permit_writing(path)
            except OSError as error:
                if not force:
                    raise Failed(
                        f"{path} is disconnected, and is still read-only for whoever uses it next ({error.strerror}): "
                        "`blockdev --setrw` changes that; --force leaves it so."
                    ) from error


def _paths(brick: Brick, connection: Found, device: Found | None, *, force: bool) -> list[Path]:
    """Where it is, as far as anybody knows. What is forced goes on where even the tools to ask are missing."""
    if device is not None:
        return [Path(device["path"])]
    try:
        return [Path(path) for path in brick.paths(connection)]
    except Failed:
        if not force:
            raise
        return []


def _free(path: Path, *, force: bool) -> None:
    """Nobody uses it, and all is written back; or that does not matter."""
    try:
        if not force and (users := devices.users_of(path)):
            raise Failed(
                f"{path} is in use: {', '.join(users)}. Unmount it (`umount`), take off what is upon it (`losetup -d`, "
                "`vgchange -an`, `swapoff`), and run this again; --force disconnects it all the same, and may lose writes."
            )
        devices.flush(path)
    except OSError as error:
        if not force:
            raise Failed(
                f"{path} cannot be let go with all that was written ({error.strerror}): --force gives up what was not."
            ) from error


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
