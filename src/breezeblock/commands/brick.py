"""os-brick, which connects hosts to volumes of all kinds: what it needs from us, and what we need from it.

It is made for services that are not root and start a helper that is (oslo.privsep). A command is gone in a moment: it does what
it does with the rights of whoever calls it, and no helper is started. Its log is for services too; what went wrong is in
its exceptions, from which passwords are taken out.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from breezeblock.commands.failure import Failed

__all__ = ["Brick"]

# Without a prefix for commands as root: see above.
NO_HELPER: Final = ""
SCANS: Final = 5
# What a connection has besides what its driver has said.
OURS: Final = ("driver_volume_type", "attachment_id")
# Mappings of Ceph's volumes are made by the kernel, and so have a path.
AS_A_PATH: Final = {"do_local_attach": True}


class Brick:
    """os-brick on this host, with its locks in a folder. What it raises comes as Failed."""

    def __init__(self, locks: Path) -> None:
        """Raises Failed when it is not installed."""
        try:
            with warnings.catch_warnings():
                # Of libraries that these libraries still have; there is nothing that whoever sees it could do.
                warnings.simplefilter("ignore")
                import os_brick
                from os_brick import exception, privileged
                from os_brick.initiator import connector
                from os_brick.initiator.connectors.nvmeof import NVMeOFConnProps
                from oslo_concurrency import lockutils, processutils
                from oslo_config import cfg
                from oslo_utils import strutils
        except ImportError as error:
            raise Failed(
                f"Connecting needs os-brick, which is not installed ({error}): `pip install 'breezeblock[attach]'`."
            ) from error
        logging.getLogger("os_brick").setLevel(logging.CRITICAL)
        cfg.CONF([], project="breezeblock", default_config_files=[], default_config_dirs=[])
        lockutils.set_defaults(str(locks))
        os_brick.setup(cfg.CONF)
        for context in (privileged.default, privileged.brick_privsep_hide_output):
            context.set_client_mode(False)
        self._connector, self._nvme_connection = connector, NVMeOFConnProps
        self._without_passwords = strutils.mask_password
        # Other people's code, for storage of every kind: a library of that storage that is not there, a fact that is missing.
        self._failures = (
            exception.BrickException,
            processutils.ProcessExecutionError,
            ImportError,
            LookupError,
            OSError,
            TypeError,
            ValueError,
        )

    def describe_host(self, *, host: str, ip: str) -> dict[str, Any]:
        """What this host says of itself, so that storage may let it in. Raises Failed."""
        with self._named("What this host is to storage cannot be found out"):
            said = self._connector.get_connector_properties(
                NO_HELPER, ip, multipath=False, enforce_multipath=False, host=host
            )
        return dict(said)

    def connect(self, connection: Mapping[str, Any]) -> dict[str, Any]:
        """Connect, or find it connected; what os-brick says of the device, with its `path`. Raises Failed."""
        kind = connection.get("driver_volume_type")
        with self._named(f"The volume cannot be connected to this host ({kind})"):
            device = self._for(kind).connect_volume(_said_by_driver(connection))
            path = device["path"]
        if not isinstance(path, str | bytes):
            raise Failed(f"A volume of this kind ({kind}) is connected without a path on this host.")
        return {**device, "path": path if isinstance(path, str) else path.decode(errors="surrogateescape")}

    def paths(self, connection: Mapping[str, Any]) -> list[str]:
        """Where it is on this host, if its connection tells; of some kinds only `connect` knows. Raises Failed."""
        kind, said = connection.get("driver_volume_type"), _said_by_driver(connection)
        with self._named("Where the volume is connected cannot be found out"):
            # All others take what their drivers have said as it is.
            known = self._nvme_connection(said) if kind == "nvmeof" else said
            return [str(path) for path in self._for(kind).get_volume_paths(known)]

    def disconnect(self, connection: Mapping[str, Any], device: Mapping[str, Any] | None, *, force: bool) -> None:
        """Disconnect, or find it disconnected. With `force` also what cannot be written back. Raises Failed."""
        kind = connection.get("driver_volume_type")
        with self._named(f"The volume cannot be disconnected from this host ({kind})"):
            self._for(kind).disconnect_volume(
                _said_by_driver(connection), None if device is None else dict(device), force=force, ignore_errors=force
            )

    def _for(self, kind: object) -> Any:
        return self._connector.InitiatorConnector.factory(
            str(kind), NO_HELPER, use_multipath=False, device_scan_attempts=SCANS, **AS_A_PATH
        )

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            text = " ".join(str(self._without_passwords(str(error))).split())
            raise Failed(f"{what}: {text or type(error).__name__}") from None


def _said_by_driver(connection: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in connection.items() if key not in OURS}
