"""Values of `[auth]` that cannot be together, or not with what listens; `settings_rules.py` has the others."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from breezeblock.options import Settings
from breezeblock.options_auth import Auth

__all__ = ["contradictions_of_auth"]

Found = tuple[str, object, str]
"""Key, value, and what was expected instead."""

_KEYSTONE: Final = ("keystone",)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
# Which strategies an option is for; what is not here is for all.
_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "hosts": ("none",),
    "htpasswd_file": ("http_basic",),
    "users_file": ("http_basic",),
    "cache_s": ("http_basic", "keystone"),
    **dict.fromkeys(
        (
            "auth_url",
            "username",
            "password",
            "password_file",
            "user_domain_name",
            "project_name",
            "project_domain_name",
            "ca_file",
            "insecure",
            "timeout_s",
            "outage_s",
            "service_roles",
            "www_authenticate_uri",
            "protect_nova_attachments",
        ),
        _KEYSTONE,
    ),
}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "http_basic": ("htpasswd_file", "users_file"),
    "keystone": ("auth_url", "username"),
}


def contradictions_of_auth(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong with how callers are identified, and with where they come from then."""
    auth, host = settings.auth, settings.api.host
    if auth.strategy == "none" and not is_loopback(host):
        reason = "auth.strategy is none, which believes every caller, so only this machine may call"
        way_out = "use 127.0.0.1 and let a proxy that checks its callers forward to it, or set auth.strategy"
        yield "api.host", host, f"{reason}; {way_out} (docs/howto/identify-callers.md)"
    for name in auth.hosts:
        if not _HOST.fullmatch(name):
            yield "auth.hosts", name, "expected a name or an address as in a URL, without a port: storage.example.org"
    yield from _needless(auth)
    for option in _NEEDED[auth.strategy]:
        if not getattr(auth, option):
            yield f"auth.{option}", "", f"the strategy {auth.strategy} needs it"
    if auth.strategy == "keystone":
        yield from _keystone(auth)


def _needless(auth: Auth) -> Iterator[Found]:
    """What would be ignored without a word."""
    defaults = structs.asdict(Auth())
    for option, strategies in _FOR.items():
        value = getattr(auth, option)
        if auth.strategy not in strategies and value != defaults[option]:
            expected = f"only {' and '.join(strategies)} have this option; expected none with {auth.strategy}"
            yield f"auth.{option}", value, expected


def _keystone(auth: Auth) -> Iterator[Found]:
    if bool(auth.password) == (auth.password_file is not None):
        way_out = "expected one of both: a password_file, or, where no file can be, a password"
        yield "auth.password_file", str(auth.password_file or ""), way_out
    for option in ("auth_url", "www_authenticate_uri"):
        url = getattr(auth, option)
        if url and not _is_url(url):
            yield f"auth.{option}", url, "expected a URL such as https://identity.example.org/v3, without a password"
    if auth.insecure and auth.ca_file is not None:
        yield "auth.insecure", True, "with a ca_file its certificate can be checked; expected false, or no ca_file"


def _is_url(url: str) -> bool:
    # It is sent to callers in a header between quotation marks.
    if re.search(r'[\s"\\\x00-\x1f\x7f]', url):
        return False
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name can mean any address tomorrow
