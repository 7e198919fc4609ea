"""Loopback ports and addresses that nobody else takes while this process lives.

They lie below the range from which the kernel draws the ports of outgoing connections: a server that is down for a moment
finds its port free when it comes back.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["LOOPBACK", "free_port", "free_ports", "loopback_addresses"]

LOOPBACK: Final = "127.0.0.1"

_FIRST: Final = 15_000
_LAST: Final = 32_000
_TRIES: Final = 1_000
_RANDOM: Final = random.SystemRandom()  # not the seeded one: two runs with one seed may run side by side

# Open for as long as this process lives, and so are the locks on them.
_held: list[int] = []


def free_port(*, addresses: tuple[str, ...] = (LOOPBACK,)) -> int:
    """A port that is free on all `addresses` and that no other test of this machine is given meanwhile."""
    folder = Path(tempfile.gettempdir()) / f"breezeblock-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in range(_TRIES):
        port = _RANDOM.randrange(_FIRST, _LAST)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if all(_is_free(address, port) for address in addresses):
            _held.append(lock)
            return port
        os.close(lock)
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST} was found in {_TRIES} tries")


def free_ports(count: int, *, addresses: tuple[str, ...] = (LOOPBACK,)) -> tuple[int, ...]:
    """Several, all different."""
    return tuple(free_port(addresses=addresses) for _ in range(count))


def loopback_addresses(count: int) -> tuple[str, ...]:
    """Addresses of this machine alone, next to each other, most likely nobody else's: there are sixteen million."""
    network = f"127.{_RANDOM.randrange(1, 255)}.{_RANDOM.randrange(256)}"
    return tuple(f"{network}.{number}" for number in range(1, count + 1))


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # As a server asks: a connection of an earlier one that is still in TIME_WAIT does not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
