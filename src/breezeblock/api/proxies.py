"""Where a request came from and how its client found us, when proxies stand in between.

Only a proxy that is configured is believed, and only what it has written itself. Each proxy adds the address that it saw
at the end of a list, so the list is read from its end: the last entry is of the proxy that spoke to us, and is believed
if that one is trusted; the one before it is believed if that address is trusted, too. The first address that is none of
the proxies' is the client's; what stands before it is the client's own invention.

One family of headers is believed, `X-Forwarded-*` or `Forwarded` (RFC 7239), not both: a proxy that writes the one may let
the other pass as the client sent it.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Direct", "Proxies", "Reached", "network_of"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# More proxies than anybody has in a row. A longer list is not looked through: it was made to keep us busy.
CHAIN_MOST: Final = 32
_SCHEMES: Final = ("http", "https")
# A name or an address with perhaps a port: what may stand in a link of ours.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}/?")
_PAIR: Final = re.compile(r'\s*([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*')


class Reached(NamedTuple):
    """`base_url` is where the client found us: the beginning of links. `address` is the client's, without a port."""

    base_url: str
    address: str


class Direct(NamedTuple):
    """The connection itself, whoever is at its other end."""

    address: str
    scheme: str
    host: str
    root_path: str = ""


class _Hop(NamedTuple):
    """What one proxy has said: whom it heard, and how it was asked."""

    address: str
    scheme: str = ""
    host: str = ""


class Proxies:
    """The proxies that are believed, as `[api] trusted_proxies` and `proxy_headers` name them."""

    def __init__(self, trusted: Sequence[str] = (), *, family: str = "x-forwarded") -> None:
        self._trusted = tuple(network_of(one) for one in trusted)
        self._family = family
        # The same few addresses ask again and again, and reading an address costs more than all the rest.
        self._known: dict[str, bool] = {}

    def reached(self, scope: Mapping[str, Any], headers: Mapping[str, str]) -> Reached:
        """Where a request came from and where it went to."""
        direct = _direct(scope, headers)
        if not self._trusted or not self._trusts(direct.address):
            return Reached(f"{direct.scheme}://{direct.host}{direct.root_path}", direct.address)
        if self._family == "forwarded":
            return self._by_forwarded(direct, headers)
        return self._by_x_forwarded(direct, headers)

    def _by_x_forwarded(self, direct: Direct, headers: Mapping[str, str]) -> Reached:
        hops = [_Hop(_bare_address(one)) for one in _items(headers.get("x-forwarded-for", ""))]
        address, passed = self._client(direct.address, hops)
        # Such a header may have one value, of the outermost proxy, or one of each: then by its place.
        scheme = _at(_items(headers.get("x-forwarded-proto", "")), passed).lower()
        host = _at(_items(headers.get("x-forwarded-host", "")), passed)
        prefix = _at(_items(headers.get("x-forwarded-prefix", "")), passed)
        path = prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else direct.root_path
        return Reached(_base(direct, scheme, host, path), address)

    def _by_forwarded(self, direct: Direct, headers: Mapping[str, str]) -> Reached:
        hops = _forwarded(headers.get("forwarded", ""))
        address, passed = self._client(direct.address, hops)
        told = hops[len(hops) - passed :]  # the outermost first
        scheme = next((hop.scheme for hop in told if hop.scheme), "")
        host = next((hop.host for hop in told if hop.host), "")
        return Reached(_base(direct, scheme, host, direct.root_path), address)

    def _client(self, address: str, hops: Sequence[_Hop]) -> tuple[str, int]:
        """The first address from the end that is no proxy's, and how many entries were believed."""
        passed = 0
        for hop in reversed(hops[-CHAIN_MOST:]):
            if not self._trusts(address):
                break
            passed += 1
            if not hop.address:  # `unknown`, a hidden name, or rubbish: nobody else is to be blamed for it
                break
            address = hop.address
        return address, passed

    def _trusts(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            known = self._reads_as_trusted(address)
            if len(self._known) > 1024:
                self._known.clear()
            self._known[address] = known
        return known

    def _reads_as_trusted(self, address: str) -> bool:
        try:
            read: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is not None:
            read = read.ipv4_mapped
        return any(read in network for network in self._trusted)


def network_of(text: str) -> Network:
    """An address or a network, `10.0.0.0/24`. Raises ValueError."""
    return ipaddress.ip_network(text, strict=True)


def _direct(scope: Mapping[str, Any], headers: Mapping[str, str]) -> Direct:
    client = scope.get("client")
    host = headers.get("host")
    if not host:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return Direct(client[0] if client else "", scope.get("scheme", "http"), host, scope.get("root_path", ""))


def _base(direct: Direct, scheme: str, host: str, path: str) -> str:
    """What cannot be in a URL is as if nobody had said it."""
    scheme = scheme if scheme in _SCHEMES else direct.scheme
    return f"{scheme}://{host if _HOST.fullmatch(host) else direct.host}{path}"


def _items(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")][-CHAIN_MOST:] if value else []


def _at(values: Sequence[str], passed: int) -> str:
    """The value that the outermost believed proxy wrote: as many from the end as were believed, or the first there is."""
    return values[max(0, len(values) - max(passed, 1))] if values else ""


def _bare_address(text: str) -> str:
    """An address without its port and brackets; empty for what is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _forwarded(value: str) -> list[_Hop]:
    """The entries of a `Forwarded` header. One that cannot be read ends the list: what stands before it is not believed."""
    hops: list[_Hop] = []
    for element in reversed(_elements(value)[-CHAIN_MOST:]):
        said: dict[str, str] = {}
        for pair in _split(element, ";"):
            found = _PAIR.fullmatch(pair)
            if found is None:
                return hops[::-1]
            quoted = found[2]
            said[found[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found[3]
        hops.append(_Hop(_bare_address(said.get("for", "")), said.get("proto", "").lower(), said.get("host", "")))
    return hops[::-1]


def _elements(value: str) -> list[str]:
    return _split(value, ",") if value else []


def _split(text: str, separator: str) -> list[str]:
    """At a separator that is not within quotes."""
    parts, start, quoted, escaped = [], 0, False, False
    for place, sign in enumerate(text):
        if escaped:
            escaped = False
        elif sign == "\\" and quoted:
            escaped = True
        elif sign == '"':
            quoted = not quoted
        elif sign == separator and not quoted:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
