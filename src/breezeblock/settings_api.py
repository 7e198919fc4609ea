"""Values of `[api]` and `[limits]` that cannot be together; `settings_rules.py` has the others."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from breezeblock.options import Api
from breezeblock.options_limits import Limits

__all__ = ["contradictions_of_api", "contradictions_of_limits"]

Found = tuple[str, object, str]
"""Key, value, and what was expected instead."""

_EVERYBODY: Final = 0


def contradictions_of_api(api: Api) -> Iterator[Found]:
    """Everything that is wrong with certificates and proxies."""
    if api.tls_certificate is not None and api.tls_key is None:
        yield "api.tls_key", "", "tls_certificate needs it"
    if api.tls_certificate is None:
        for name in ("tls_key", "tls_key_password", "tls_client_ca"):
            if value := getattr(api, name):
                # Whoever wrote it believes that connections are secret.
                yield f"api.{name}", str(value), "without tls_certificate the API speaks no TLS; expected none, or both"
    for one in api.trusted_proxies:
        yield from _proxy(one)


def _proxy(written: str) -> Iterator[Found]:
    try:
        network = ipaddress.ip_network(written, strict=True)
    except ValueError:
        yield "api.trusted_proxies", written, "expected an address or a network such as 192.0.2.10 or 10.0.0.0/24"
        return
    if network.prefixlen == _EVERYBODY:
        yield "api.trusted_proxies", written, "everybody would be believed; expected the proxies' own addresses"


def contradictions_of_limits(limits: Limits) -> Iterator[Found]:
    """A burst without a rate would be ignored without a word; one that is less than a second's requests would be the rate."""
    for what in ("reads", "writes", "address"):
        per_s, burst = getattr(limits, f"{what}_per_s"), getattr(limits, f"{what}_burst")
        if burst and not per_s:
            yield f"limits.{what}_burst", burst, f"expected {what}_per_s as well: without it there is no limit"
        elif 0 < burst < per_s:
            yield f"limits.{what}_burst", burst, f"expected at least {what}_per_s, {per_s}"
