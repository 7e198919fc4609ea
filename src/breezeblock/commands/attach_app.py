"""`breezeblock attach` and `detach` on the command line. What they do is in `attaching.py` and `detaching.py`.

What a program wants is on the standard output, alone: the device. What people want to know besides is on the other one.
"""

import base64
import getpass
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from breezeblock import settings
from breezeblock.commands.common_options import Config, Data
from breezeblock.commands.failure import Failed

if TYPE_CHECKING:
    from breezeblock.commands.api_client import Api
    from breezeblock.commands.attaching import Attached
    from breezeblock.commands.host_folder import HostFolder
    from breezeblock.settings import Settings

__all__ = ["attach", "detach"]

WAIT_S: Final = 120.0
MODES: Final = ("rw", "ro")
# Addresses to listen on that stand for all of a machine, and that one of them by which it reaches itself.
HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}

Url = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        envvar="BREEZEBLOCK_URL",
        help="Where the service is; by default what runs on the data folder, or api.host and api.port.",
    ),
]
Project = Annotated[
    str | None, typer.Option(metavar="ID", help="Whose volume it is; by default service.default_project.")
]
Host = Annotated[str | None, typer.Option(metavar="NAME", help="This host's name, if another than its own.")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="Where this host notes what is connected.")
]
LockPath = Annotated[
    Path | None,
    typer.Option("--lock-path", metavar="DIR", help="Where os-brick has its locks; beside Nova, Nova's lock_path."),
]
Wait = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for the service.")]


def attach(
    volume: Annotated[str, typer.Argument(metavar="VOLUME", help="The id of a volume, or a name that only one has.")],
    mode: Annotated[
        str | None, typer.Option(metavar="rw|ro", help="Whether it is written to; rw if it may be.")
    ] = None,
    mountpoint: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What others are told of where it is used.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Only show who has it attached and how. Nothing is made or connected.")
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="The same with passwords, which --show hides.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    host: Host = None,
    ip: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="This host's for storage; by default where it reaches the API."),
    ] = None,
    wait: Wait = WAIT_S,
    api: Url = None,
    project: Project = None,
    run_dir: RunDir = None,
    lock_path: LockPath = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Connect a volume to this host and print its device. Again, it finds what there is. Network storage needs root."""
    if mode not in (None, *MODES):
        raise typer.BadParameter(f"--mode takes rw or ro, not {mode!r}")
    service = _api(settings.load(config, os.environ, {"service.data_dir": data}).settings, api, project)
    folder = _folder(run_dir, lock_path)
    named = host or socket.gethostname()
    from breezeblock.commands import attaching as command

    if show or show_secrets:
        _show(command.looked_at(service, folder, volume, host=named, secrets=show_secrets), volume, as_json=as_json)
        return
    from breezeblock.env.real import real_env

    wanted = command.Wanted(volume, named, ip or _own_address(service), mode, mountpoint, wait)
    try:
        done = command.attach(service, folder, wanted, clock=real_env().clock)
    except KeyboardInterrupt:
        _tell(f"Interrupted. Run it again to go on, or `breezeblock detach {volume}` to take it back.")
        raise
    _print(done, as_json=as_json)


def detach(
    what: Annotated[
        str,
        typer.Argument(metavar="VOLUME|ATTACHMENT", help="A volume's id or name; or the id of one of its attachments."),
    ],
    force: Annotated[
        bool,
        typer.Option("--force", help="Also while it is used, and from other hosts. May lose what is not written back."),
    ] = False,
    host: Host = None,
    wait: Wait = WAIT_S,
    api: Url = None,
    project: Project = None,
    run_dir: RunDir = None,
    lock_path: LockPath = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Disconnect a volume from this host, with all that was written on it. Again, it finds that done."""
    service = _api(settings.load(config, os.environ, {"service.data_dir": data}).settings, api, project)
    from breezeblock.commands import detaching as command
    from breezeblock.env.real import real_env

    named, folder = host or socket.gethostname(), _folder(run_dir, lock_path)
    clock = real_env().clock
    try:
        print(command.detach(service, folder, what, host=named, force=force, wait_s=wait, clock=clock))
    except KeyboardInterrupt:
        _tell(f"Interrupted. Run `breezeblock detach {what}` again to go on.")
        raise


def _print(done: "Attached", *, as_json: bool) -> None:
    if done.mode == "ro" and not done.keeps_out:
        _tell(
            f"It may only be read, and {done.device} is a file that nothing keeps from being written to: use it read-only, "
            "as with `losetup --read-only`."
        )
    if as_json:
        print(json.dumps({key: value for key, value in done._asdict().items() if key != "keeps_out"}, indent=1))
        return
    print(done.device)
    _tell(f"Volume {done.volume_id} is attached to host {done.host} ({done.mode}) by attachment {done.attachment_id}.")


def _show(found: list[dict[str, Any]], volume: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"Volume {volume} is not attached.")
        return
    from rich.table import Table
    from rich.text import Text

    from breezeblock.commands.status_view import console

    for one in found:
        table = Table(show_header=False)
        connection = one.pop("connection_info")
        for key, value in (*one.items(), *(connection or {}).items()):
            table.add_row(
                Text(key), Text("" if value is None else value if isinstance(value, str) else json.dumps(value))
            )
        console().print(table)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


# --- where the service is, and who asks ------------------------------------------------------------------------------


def _api(chosen: "Settings", url: str | None, project: str | None) -> "Api":
    from breezeblock.commands.api_client import Api

    # Where everybody is believed, the name is for the service's records; elsewhere the credentials say who and which project.
    who = project or chosen.service.default_project, getpass.getuser()
    return Api(url or _endpoint(chosen), project=who[0], user=who[1], credentials=_credentials(os.environ))


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """What OpenStack's clients are told by the same variables: a token, or a user's name and password. None is none."""
    if token := environ.get("OS_TOKEN"):
        return {"X-Auth-Token": token}
    if environ.get("OS_AUTH_TYPE") == "http_basic":
        words = f"{environ.get('OS_USERNAME', '')}:{environ.get('OS_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}
    return {}


def _endpoint(chosen: "Settings") -> str:
    """Of the service that runs on the data folder; else where the settings say that one would be. Raises Failed."""
    from breezeblock.supervisor.folder import DataFolder

    try:
        told = DataFolder(Path(chosen.service.data_dir).absolute()).read_told()
    except PermissionError:  # somebody else's, which still may be asked
        told = {}
    if endpoint := told.get("endpoint"):
        return str(endpoint)
    if chosen.api.port == 0:
        raise Failed("The settings give no port of the service (api.port is 0), and none runs here: say --api URL.")
    host = HERE.get(chosen.api.host.strip("[]"), chosen.api.host.strip("[]"))
    scheme = "http" if chosen.api.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{chosen.api.port}"


def _own_address(service: "Api") -> str:
    """The address by which this host reaches the service: nothing is sent for that. Raises Failed."""
    try:
        (family, kind, protocol, _, at), *_ = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(at)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Failed(f"{service.url} cannot be reached from this host: {error.strerror or error}.") from error


def _folder(path: Path | None, lock_path: Path | None) -> "HostFolder":
    from breezeblock.commands.host_folder import HostFolder, usual_folder

    return HostFolder(path or usual_folder(os.environ), os_brick_locks=lock_path)
