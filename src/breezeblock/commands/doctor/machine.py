"""The process's own rights and limits, its port, the settings' file, and the units that start the service."""

import errno
import os
import pwd
import re
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.env.machine import machine_id
from breezeblock.settings import Settings
from breezeblock.supervisor.folder import DataFolder

__all__ = ["look", "look_at_file", "look_at_units"]

# An API process holds so many connections, and as many again wait for answers of databases and files.
FILES_LEAST: Final = 4096
UNITS: Final = (Path("/etc/systemd/system"), Path("/usr/local/lib/systemd/system"), Path("/usr/lib/systemd/system"))
_SECRET_IN_FILE: Final = re.compile(r"://[^\s/:@\"']+:[^\s@\"']+@|^\s*\w*(password|secret)\s*=", re.MULTILINE)


def look(settings: Settings) -> Findings:
    """See `examine`."""
    yield from _user(settings)
    yield from _limits()
    yield from _port(settings)
    yield from _identity(settings)
    for folder in UNITS:
        yield from look_at_units(folder)


def look_at_file(file: Path | None) -> Findings:
    """Whether others may read secrets in the settings, or change them."""
    if file is None:
        return
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # reading the settings says why
    if mode & stat.S_IROTH and _SECRET_IN_FILE.search(text):
        yield Finding(
            "settings.secrets",
            ERROR,
            f"Every user of this machine can read {file}, and there is a password in it.",
            "Who has the database's password has all volumes of all projects.",
            f"chown root:breezeblock {file} && chmod 640 {file}, or keep the password out of it.",
        )
    if mode & (stat.S_IWOTH | stat.S_IWGRP):
        yield Finding(
            "settings.writable",
            ERROR,
            f"Others than its owner may change {file} (mode {stat.S_IMODE(mode):o}).",
            "A fence agent's command in it is run as the service's user.",
            f"chmod go-w {file}",
        )


def _user(settings: Settings) -> Findings:
    path = settings.service.data_dir
    if os.geteuid() != 0 or not path.exists() or (owner := path.stat().st_uid) == 0:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"'#{owner}'"
    yield Finding(
        "machine.user",
        WARNING,
        f"You are root, and the service is {name}: it owns {path}.",
        "Root may read and write everything, so that what the service may not is not seen here.",
        f"Run this as the service's user: runuser -u {name} -- breezeblock doctor …",
    )


def _limits() -> Findings:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_LEAST:
        yield Finding(
            "machine.files",
            WARNING,
            f"A process may have {soft} files open (hard limit {hard}).",
            "Each connection of a client is one; beyond, no client is accepted and no volume opened.",
            f"LimitNOFILE={4 * FILES_LEAST} in the unit, or `ulimit -n {4 * FILES_LEAST}` before it is started.",
        )


def _port(settings: Settings) -> Findings:
    api, folder = settings.api, DataFolder(settings.service.data_dir.absolute())
    if not api.workers or not api.port or folder.read_told():
        return  # nothing listens here, or it is we who do
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    try:
        socket.create_server((api.host.strip("[]"), api.port), family=family).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        yield Finding(
            "machine.port",
            ERROR,
            f"Port {api.port} on {api.host} {'is taken' if taken else f'cannot be used: {error.strerror or error}'}.",
            "The API cannot listen there, and `up` does not start.",
            "`ss -ltnp` names who listens; end that, or set api.port." if taken else "Set api.host and api.port.",
        )


def _identity(settings: Settings) -> Findings:
    needs = [name for name, backend in settings.backends.items() if "boot" in backend.fence]
    if settings.one_machine or not settings.nodes.count or not needs or machine_id(settings.nodes.machine_id):
        return
    yield Finding(
        "fences.machine_id",
        WARNING,
        f"Which machine this is cannot be told, and {', '.join(needs)} would be fenced by its next boot.",
        "The DMI product UUID is readable for root only, or is one that many machines share: `boot` proves nothing then.",
        "Set nodes.machine_id to what no other machine has, such as its serial number.",
    )


def look_at_units(folder: Path) -> Findings:
    """Whether the units that start the service give it more rights than it needs, or give others a way to root."""
    if not folder.is_dir():
        return
    for unit in sorted(folder.glob("breezeblock*.service")):
        try:
            mode, text = unit.stat().st_mode, unit.read_text(encoding="utf-8")
        except OSError:
            continue  # a link that leads nowhere is a unit that is masked
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield Finding(
                "units.writable",
                ERROR,
                f"Others than root may change {unit} (mode {stat.S_IMODE(mode):o}).",
                "What it says is done by root.",
                f"chmod 644 {unit}",
            )
        user = dict(_assignments(text)).get("User", "root")
        if user in ("root", "0"):
            yield Finding(
                "units.root",
                WARNING,
                f"{unit} runs the service as root.",
                "Whoever gets into it has the machine; it needs no more than its own files.",
                "User=breezeblock, as in the units that are shipped (docs/howto/install.md).",
            )
        if dict(_assignments(text)).get("Type") not in ("notify", "oneshot"):
            yield Finding(
                "units.type",
                NOTE,
                f"{unit} is not of Type=notify.",
                "`systemctl start` returns before anything is served, and a service that hangs is not restarted.",
                "Type=notify and WatchdogSec=, as in the units that are shipped.",
            )


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith(("#", ";")):
            yield key.strip(), value.strip()
