"""Doorbells on one machine: within a process, and between processes by unix datagrams.

Every worker binds a socket of its own in one folder; ringing sends one datagram to one of them. A worker that is stopped
or slow has a full socket buffer, and is passed over.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from breezeblock.doorbells.contract import Tally

_SUFFIX: Final = ".bell"


class InProcessBell:
    """Rings every listener of the same process."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self, on_ring: Callable[[], None]) -> None:
        """See `contract.Listener`."""
        self._listeners.append(on_ring)

    def ring(self, queue: str) -> None:
        """See `contract.Doorbell`."""
        for on_ring in self._listeners:
            on_ring()

    def is_connected(self) -> bool:
        """Always: see `contract.Listener`."""
        return True

    def close(self) -> None:
        """Forget all listeners."""
        self._listeners.clear()


class DatagramBell:
    """Rings one of the workers that listen in `folder`, each in its turn.

    One, because all that wake look into the queue and try to claim the same: with two nodes every create cost a second
    look and a lost claim. A ring that goes to a stopped worker is lost, and the others look by themselves within a second;
    soon its buffer is full and it is passed over. Sockets are addressed through an open folder, so that paths stay short.
    """

    def __init__(self, folder: str, tally: Tally) -> None:
        self._tally = tally
        tally.connected(True)
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._turn = 0

    def ring(self, queue: str) -> None:
        """See `contract.Doorbell`."""
        arrived = False
        with contextlib.suppress(OSError):  # a commit came before: whatever fails here must not look like its failure
            arrived = self._ring(queue)
        if arrived:
            self._tally.sent(1)
        else:
            self._tally.failed(1)

    def _ring(self, queue: str) -> bool:
        """Whether somebody got it."""
        listeners = sorted(name for name in os.listdir(self._folder) if name.endswith(_SUFFIX))  # noqa: PTH208  by its open file
        self._turn += 1
        for position in range(len(listeners)):
            name = listeners[(self._turn + position) % len(listeners)]
            try:
                self._socket.sendto(queue.encode(), _address(self._folder, name))
            except ConnectionRefusedError:
                # Nobody is behind that socket any more. Names are unique to a process's life, so it will not come back.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._folder)
            except OSError:
                continue  # full, or just gone: the next one
            else:
                return True
        return False

    def close(self) -> None:
        """Release the socket and the folder."""
        self._socket.close()
        os.close(self._folder)


class DatagramListener:
    """A worker's socket in the folder; `name` must be unique to this process's life.

    With `hears_all` everybody who rings is on this machine; where there may be others, this is not counted on.
    """

    def __init__(self, folder: str, name: str, tally: Tally, *, hears_all: bool = True) -> None:
        self._tally = tally
        self._hears_all = hears_all
        tally.connected(True)
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = name + _SUFFIX
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind(_address(self._folder, self._name))

    def listen(self, on_ring: Callable[[], None]) -> None:
        """See `contract.Listener`. Must be called on the event loop."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain, on_ring)

    def is_connected(self) -> bool:
        """See `contract.Listener`."""
        return self._hears_all

    def close(self) -> None:
        """Stop listening and remove the socket."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)
        os.close(self._folder)

    def _drain(self, on_ring: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(256):
                self._tally.received(1)
        on_ring()


def _address(folder: int, name: str) -> str:
    return f"/proc/self/fd/{folder}/{name}"
