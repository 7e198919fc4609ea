"""What was found once: each of these was answered 500, or not in this API's form."""

from typing import Final

import pytest
from tests.fuzz.test_bad_input import check
from tests.fuzz.world import TYPE, VOLUME, FuzzApi

NEWEST: Final = (b"openstack-api-version", b"volume 3.71")
FOUND: Final[dict[str, tuple[str, str, tuple[bytes, bytes], bytes]]] = {
    "a body nested deeper than the decoder goes": ("POST", "volumes", NEWEST, b"[" * 100_000),
    "the same inside an action": ("POST", f"volumes/{VOLUME}/action", NEWEST, b'{"os-extend":' + b'{"a":' * 15_000),
    "an unknown key, and after it what is not JSON": ("PUT", f"volumes/{VOLUME}", NEWEST, b'{"x":1}{}'),
    "an unknown key, and after it what is not UTF-8": ("PUT", f"types/{TYPE}", NEWEST, b'{"x":"\xed\xa0\x80"}'),
    "a version of five thousand digits": ("GET", "volumes", (NEWEST[0], b"volume 3." + b"9" * 5_000), b""),
    "a length in digits that are none": ("POST", "volumes", (b"content-length", b"\xb2"), b"{}"),
    "a length of five thousand digits": ("POST", "volumes", (b"content-length", b"9" * 5_000), b"{}"),
    "a map with a list for its key": ("GET", "volumes?metadata={[]:1}", NEWEST, b""),
    "the same as extra specs": ("GET", "types?extra_specs={[]:1}", NEWEST, b""),
    "half a character in a map": ("GET", r"volumes?metadata={'\ud800':1}", NEWEST, b""),
    "a size that no database takes": ("GET", "volumes?size=9223372036854775808", NEWEST, b""),
    "a path with a line break": ("GET", f"volumes/{VOLUME}/metadata/%0d%0a", NEWEST, b""),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused(api: FuzzApi, name: str) -> None:
    method, target, header, body = FOUND[name]
    answer = api.send(method, f"/v3/p1/{target}".encode(), headers=[header], body=body)
    assert answer.status >= 400
    check(api, answer)
