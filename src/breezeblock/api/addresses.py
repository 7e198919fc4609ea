"""As whom an address counts, where somebody counts what comes from each.

Who has one address of IPv6 has all of its network of 64 bits. And an address of IPv4 can be written as one of IPv6 in several
ways, all in one such network or, by turns, in as many as one likes: it counts as what it is.
"""

import ipaddress
from typing import Final

__all__ = ["counted_as"]

_NETWORK_BITS: Final = 64
# The one that every NAT64 may use (RFC 6052); a prefix of an operator's own is not to be told from other networks.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_BITS: Final = 0xFFFFFFFF


def counted_as(address: str) -> str:
    """An address of IPv4, a network of IPv6, or the text itself if it is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    inner = parsed.ipv4_mapped or parsed.sixtofour
    if parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & _IPV4_BITS)
    return str(inner or ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
