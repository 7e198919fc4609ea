"""Every command and function that the clients have for block storage, and which of them were run and did their work.

The programs say it themselves: `cinder` with its exit status, `openstack` with what it prints with `--debug`. The functions
of openstacksdk are watched while tests run.
"""

import functools
import importlib.metadata
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import cinderclient.v3.shell
from openstack.block_storage.v3._proxy import Proxy
from openstack.cloud._block_storage import BlockStorageCloudMixin
from tests.clients.requests import CINDER, OPENSTACK

PROXY: Final = "openstacksdk: block_storage"
CLOUD: Final = "openstacksdk: cloud"
KINDS: Final = (CINDER, OPENSTACK, PROXY, CLOUD)
CLASSES: Final = {PROXY: Proxy, CLOUD: BlockStorageCloudMixin}

# Of what `openstack` has for several services at once, what asks this one.
COMMON: Final = (
    "availability zone list",
    "extension list",
    "extension show",
    "limits show",
    "project cleanup",
    "quota delete",
    "quota list",
    "quota set",
    "quota show",
    "versions show",
)
_BEGUN: Final = re.compile(r"command: (.+) -> openstackclient\.")
_ENDED: Final = re.compile(r"clean_up (\w+): (.*)")

Ran = set[tuple[str, str]]
"""Kind and name of each command that did its work."""


def every_command() -> dict[str, tuple[str, ...]]:
    """The names of all, by kind."""
    shell = (name for name in vars(cinderclient.v3.shell) if name.startswith("do_"))
    volume = importlib.metadata.entry_points(group="openstack.volume.v3")
    return {
        CINDER: tuple(sorted(name.removeprefix("do_").replace("_", "-") for name in shell)),
        OPENSTACK: tuple(sorted({*(one.name.replace("_", " ") for one in volume), *COMMON})),
        **{kind: tuple(sorted(_functions(owner))) for kind, owner in CLASSES.items()},
    }


def _functions(owner: type) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(owner).items() if callable(value) and not name.startswith("_")}


def ran_by_openstack(text: str) -> Iterator[str]:
    """The commands that ended without an error, of what the program printed with `--debug`."""
    name = ""
    for line in text.splitlines():
        if begun := _BEGUN.search(line):
            name = begun[1]
        elif line.startswith("usage: "):  # it was called wrongly, which is no error to `clean_up`
            name = ""
        elif (ended := _ENDED.search(line)) and name:
            if not ended[2].strip():
                yield name
            name = ""


@contextmanager
def watching(ran: Ran) -> Iterator[None]:
    """Note each function of the library that returns, for as long as the block runs."""

    def watched(kind: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            answer = function(*arguments, **options)
            ran.add((kind, name))
            return answer

        return call

    with ExitStack() as stack:
        for kind, owner in CLASSES.items():
            for name, function in _functions(owner).items():
                stack.enter_context(mock.patch.object(owner, name, watched(kind, name, function)))
        yield
