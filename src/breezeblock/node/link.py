"""The line between a keeper and its worker, and from `up` to its children: a few words each way over a socket pair.

keeper → worker   ping · shut N · open · drain
worker → keeper   ready · pong · is-shut N · drained · levels JSON (to the process, not to what keeps the lease)
up → child        ping
child → up        pong, and an API process `ready`

`shut` is numbered, and its answer carries the number: one that was on its way while the gate was opened again must not
pass for the answer to the next question.
"""

import asyncio
import socket
from typing import Final, Protocol

PING: Final = "ping"
SHUT: Final = "shut"
OPEN: Final = "open"
DRAIN: Final = "drain"
READY: Final = "ready"
PONG: Final = "pong"
IS_SHUT: Final = "is-shut"
DRAINED: Final = "drained"
LEVELS: Final = "levels"


class Link(Protocol):
    """One end of the line."""

    def send(self, word: str) -> None:
        """Say a word; it is lost when the other end is gone."""
        ...

    async def receive(self) -> str | None:
        """The next word, or None when the other end is gone."""
        ...


class SocketLink:
    """A link over one end of a socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, end: socket.socket) -> "SocketLink":
        """Take over a connected stream socket."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, word: str) -> None:
        """See `Link`."""
        if not self._writer.is_closing():
            self._writer.write(word.encode() + b"\n")

    async def receive(self) -> str | None:
        """See `Link`."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return line.decode().strip() or None

    def close(self) -> None:
        """Give the line up."""
        self._writer.close()


async def answer_pings(link: Link) -> None:
    """On the event loop on purpose: what is asked is whether the loop still turns. Returns when the other end is gone."""
    while (word := await link.receive()) is not None:
        if word == PING:
            link.send(PONG)
