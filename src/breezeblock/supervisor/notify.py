"""What `up` tells the service manager that started it: that it is ready, that it lives, that it ends.

The protocol of sd_notify(3), which systemd keeps stable: one datagram of KEY=VALUE lines to the socket in $NOTIFY_SOCKET. It is
our own twenty lines because the library that wraps it needs systemd's headers to be built, and the ones that do not are
unmaintained. Without such a socket nothing is told, and nothing fails: a manager that is gone must not end the service.
"""

import math
import os
import socket
from collections.abc import Mapping
from typing import Final

import structlog

log = structlog.get_logger(__name__)

# So often within the time after which a silent service is killed.
FEEDS_PER_LIMIT: Final = 4
# While it starts, when nobody has set a limit: longer than one start of a child may take.
STARTING_S: Final = 90.0


class Manager:
    """The service manager, if there is one that wants to know."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        # Meant for somebody else: a variable that was inherited.
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit_us = environ.get("WATCHDOG_USEC", "") if is_ours else ""
        self.limit_s: float | None = int(limit_us) / 1e6 if limit_us.isdigit() and int(limit_us) > 0 else None

    @property
    def every_s(self) -> float:
        """How often `lives` or `starts` is to be told."""
        return min(self.limit_s or STARTING_S, STARTING_S) / FEEDS_PER_LIMIT

    def starts(self, what: str, *, within_s: float = STARTING_S) -> None:
        """It is not ready yet, and says what it waits for: it may take so many seconds more until the next word."""
        self._tell(f"STATUS={what}", f"EXTEND_TIMEOUT_USEC={math.ceil(within_s * 1e6)}")

    def is_ready(self, what: str) -> None:
        """From now on it serves; `lives` is expected from now on as well."""
        self._tell("READY=1", f"STATUS={what}")

    def lives(self) -> None:
        """All is well."""
        if self.limit_s is not None:
            self._tell("WATCHDOG=1")

    def stops(self) -> None:
        """It hands back what it does, and ends."""
        self._tell("STOPPING=1", "STATUS=Handing back what is under way.")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            try:
                to.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                log.warning("manager.cannot_be_told", socket=self._address, reason=error.strerror or str(error))
