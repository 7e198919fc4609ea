"""A private RabbitMQ of one node."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Final

from tests.servers.home import Home
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.server import Server, greet, running

__all__ = ["RabbitMQ", "rabbitmq"]

# Debian's own in the path insists on a user, and on files of the whole machine.
_PROGRAM: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_CONFIGURATION: Final = """\
listeners.tcp.local = {host}:{port}
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
"""
# One thread that does not spin while it has nothing to do.
_ERLANG: Final = "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitMQ(Server):
    """See `server.Server`."""

    READY_S: ClassVar = 300.0  # it computes for five to seven seconds before it listens, and others may compute as well

    def __init__(self, home: Home, name: str = "rabbitmq", *, host: str = LOOPBACK) -> None:
        self._program = find(_PROGRAM, package="rabbitmq-server")
        super().__init__(home, name, host=host)
        self._distribution: Final = free_port()
        # Its register of names: it starts one if there is none, which ends with it because everything below the guard does.
        self._names: Final = free_port()
        self._write(".erlang.cookie", "ONLYFORTHISRUN").chmod(0o400)
        self._write("plugins", "[].")
        self._write("rabbit.conf", _CONFIGURATION.format(host=self.host, port=self.port))

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="ascii")
        return path

    @property
    def url(self) -> str:
        """For AMQP."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        return (self._program,)

    def environ(self) -> Mapping[str, str]:
        """See `server.Server`."""
        folder = str(self.folder)
        return {
            "HOME": folder,
            "ERL_CRASH_DUMP": f"{folder}/crash",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._names),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbit.conf",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        }

    def look(self) -> None:
        """See `server.Server`: it answers the header of AMQP with a method on channel 0."""
        greet(self, b"AMQP\x00\x00\x09\x01", hears=b"\x01\x00\x00")


def rabbitmq() -> AbstractContextManager[RabbitMQ]:
    """A server of one's own for the length of a block."""
    return running("mq", RabbitMQ)
