"""Real servers of rings, private to a test run: PostgreSQL and RabbitMQ from Debian's packages, on ports of their own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

import psycopg

from breezeblock.chaos.service import descendants

POSTGRESQL_BIN: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin")
START_S: Final = 60.0
# Nothing of a run that was killed stays behind. It is about the thread that started it: see `launch`.
_DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process that can be killed, frozen and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def _spawn(self, command: list[str], environ: dict[str, str] | None = None) -> None:
        with (self.folder / "server.out").open("ab") as out:
            self.process = subprocess.Popen(
                [*_DIES_WITH_US, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
                cwd=self.folder,
                start_new_session=True,
            )

    def launch(self) -> None:
        """Start it, without waiting. To be called in the main thread: with the thread that called it, it would end."""
        raise NotImplementedError

    def await_ready(self) -> None:
        """Return when it answers. Raises when it does not."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait for it."""
        self.launch()
        self.await_ready()

    def kill(self) -> None:
        """kill -9, with all its children."""
        if self.process is not None:
            for pid in (self.process.pid, *descendants(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def end(self) -> None:
        """Leave nothing running."""
        self.kill()

    def freeze(self) -> None:
        """As a partition looks: connections stay, and nothing comes any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *descendants(self.process.pid)):
            os.kill(pid, number)


class Postgresql(Server):
    """One PostgreSQL without fsync; `options` are those of its configuration."""

    def __init__(self, folder: Path, **options: str) -> None:
        super().__init__(folder)
        self._options = options

    @property
    def url(self) -> str:
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/postgres"

    def launch(self) -> None:
        """See `Server`."""
        data = self.folder / "data"
        if not data.exists():
            shutil.chown(self.folder, "postgres")
            made = [
                *_as_postgres(),
                str(POSTGRESQL_BIN[-1] / "initdb"),
                "-D",
                str(data),
                "-A",
                "trust",
                "-U",
                "postgres",
            ]
            subprocess.run([*made, "--no-sync"], check=True, capture_output=True, cwd=self.folder)
        (data / "postmaster.pid").unlink(missing_ok=True)
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        options |= {"shared_buffers": "16MB"} | self._options
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._spawn([*_as_postgres(), str(POSTGRESQL_BIN[-1] / "postgres"), "-D", str(data), *given])

    def await_ready(self) -> None:
        """See `Server`."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "server.out").read_text()[-2000:]
                time.sleep(0.05)
            else:
                return


def _as_postgres() -> tuple[str, ...]:
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "KILL")


class Rabbitmq(Server):
    """One node of RabbitMQ."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._distribution, self._epmd = free_port(), free_port()
        self._names: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def _log(self) -> Path:
        return self.folder / "rabbit.log"

    def launch(self) -> None:
        """See `Server`."""
        self._log.unlink(missing_ok=True)
        self._configure()
        if self._names is None:
            # Else the node would start one, which stays.
            ours = [*_DIES_WITH_US, "epmd", "-address", "127.0.0.1", "-port", str(self._epmd)]
            self._names = subprocess.Popen(ours, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._spawn([str(RABBITMQ / "rabbitmq-server")], self._environ())

    def await_ready(self) -> None:
        """See `Server`."""
        deadline = time.monotonic() + START_S
        while not (self._log.exists() and "Server startup complete" in self._log.read_text(errors="replace")):
            assert time.monotonic() < deadline, (self.folder / "server.out").read_text()[-2000:]
            time.sleep(0.1)

    def end(self) -> None:
        """See `Server.end`."""
        super().end()
        if self._names is not None:
            self._names.kill()
            self._names.wait()

    def _configure(self) -> None:
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("ONLYFORTHISRUN")
            cookie.chmod(0o400)
        (self.folder / "plugins").write_text("[].")
        (self.folder / "rabbit.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            "loopback_users = none\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 512MB\n"
        )

    def _environ(self) -> dict[str, str]:
        local = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODENAME": f"r{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbit.conf"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": str(self._log),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbit.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{local} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
