"""Values of `[events.NAME]` and `[audit]` that cannot be together; `settings_rules.py` has the others."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from breezeblock.options import EventReceiver, Settings

__all__ = ["contradictions_of_events"]

Found = tuple[str, object, str]
"""Key, value, and what was expected instead."""

# Which types an option is for; what is not here is for all.
_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "urls": ("webhook", "oslo", "nova"),
    "secret_file": ("webhook",),
    "ca_file": ("webhook", "nova"),
    **dict.fromkeys(("exchange", "topic", "durable", "quorum"), ("oslo",)),
    **dict.fromkeys(("credentials_file", "region", "interface"), ("nova",)),
}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "log": (),
    "webhook": ("urls",),
    "oslo": ("urls",),
    "nova": ("credentials_file",),
}
# What must be installed, and with which extra.
_LIBRARY: Final = {
    "webhook": ("httpx", "webhook"),
    "oslo": ("aiormq", "rabbitmq"),
}
_SCHEMES: Final = {"webhook": ("http", "https"), "oslo": ("amqp", "amqps"), "nova": ("http", "https")}


def contradictions_of_events(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong with the receivers of events, and with the audit log."""
    for name, one in settings.events.items():
        key = f"events.{name}"
        yield from _needless(key, one)
        for option in _NEEDED[one.type]:
            if not getattr(one, option):
                yield f"{key}.{option}", "", f"a receiver of the type {one.type} needs it"
        library, extra = _LIBRARY.get(one.type, ("", ""))
        if library and find_spec(library) is None:
            way_out = f"it needs a library that is not installed: pip install 'breezeblock[{extra}]'"
            yield f"{key}.type", one.type, way_out
        yield from _urls(key, one)
    audit = settings.audit
    if (audit.to == "file") != (audit.file is not None):
        expected = (
            "to = file needs it" if audit.to == "file" else f"only to = file has a file; expected none with {audit.to}"
        )
        yield "audit.file", str(audit.file or ""), expected


def _needless(key: str, one: EventReceiver) -> Iterator[Found]:
    """What would be ignored without a word."""
    defaults = structs.asdict(EventReceiver())
    for option, types in _FOR.items():
        value = getattr(one, option)
        if one.type not in types and value != defaults[option]:
            expected = f"only {' and '.join(types)} have this option; expected none with type = {one.type}"
            yield f"{key}.{option}", value, expected


def _urls(key: str, one: EventReceiver) -> Iterator[Found]:
    if one.type not in _SCHEMES:
        return
    if one.type != "oslo" and len(one.urls) > 1:
        yield f"{key}.urls", one.urls, f"expected one URL with type = {one.type}"
    schemes = _SCHEMES[one.type]
    for url in one.urls:
        if not _is_url(url, schemes):
            yield f"{key}.urls", url, f"expected a URL such as {schemes[0]}://host.example.org/path"


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False
