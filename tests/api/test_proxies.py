"""Whose word counts on where a request came from: a configured proxy's, and only what it has written itself."""

import pytest
from tests.api.world import Api

from breezeblock.api.proxies import Proxies, Reached

PROXY, INNER, CLIENT, LIAR = "10.0.0.1", "10.0.0.2", "203.0.113.7", "198.51.100.9"


def reached(
    sent: dict[str, str],
    *,
    peer: str = PROXY,
    trusted: tuple[str, ...] = ("10.0.0.0/24",),
    family: str = "x-forwarded",
    root_path: str = "",
) -> Reached:
    scope = {"client": (peer, 4711), "server": ("10.0.0.3", 8776), "scheme": "http", "root_path": root_path}
    return Proxies(trusted, family=family).reached(scope, {"host": "inside:8776", **sent})


X_FORWARDED = {
    "x-forwarded-for": CLIENT,
    "x-forwarded-proto": "https",
    "x-forwarded-host": "volumes.example.org",
    "x-forwarded-prefix": "/volume",
}
FORWARDED = {"forwarded": f"for={CLIENT};proto=https;host=volumes.example.org"}


def test_by_default_nobody_is_believed() -> None:
    assert reached(X_FORWARDED | FORWARDED, trusted=()) == Reached("http://inside:8776", PROXY)


@pytest.mark.parametrize("family", ["x-forwarded", "forwarded"])
def test_a_stranger_is_not_believed(family: str) -> None:
    assert reached(X_FORWARDED | FORWARDED, peer=LIAR, family=family) == Reached("http://inside:8776", LIAR)


def test_a_proxy_tells_where_the_client_was_and_what_it_asked_for() -> None:
    assert reached(X_FORWARDED) == Reached("https://volumes.example.org/volume", CLIENT)
    assert reached(FORWARDED, family="forwarded") == Reached("https://volumes.example.org", CLIENT)


def test_only_the_family_that_proxies_write_counts() -> None:
    """A proxy that writes the one lets the other pass as the client sent it."""
    assert reached(FORWARDED) == Reached("http://inside:8776", PROXY)
    assert reached(X_FORWARDED, family="forwarded") == Reached("http://inside:8776", PROXY)


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (CLIENT, CLIENT),
        (f"{LIAR}, {CLIENT}", CLIENT),  # the client's own invention stands first
        (f"{LIAR},{CLIENT},{INNER}", CLIENT),
        (f"{PROXY}, {CLIENT}", CLIENT),
        (f"{INNER}, {PROXY}", INNER),  # a proxy asked by itself
        (f"{CLIENT}:55123", CLIENT),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("unknown", PROXY),
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, ; DROP TABLE", PROXY),
        ("", PROXY),
        (",,,", PROXY),
        (f"{CLIENT}," + f"{INNER}," * 5000 + CLIENT, CLIENT),
    ],
)
def test_a_chain_is_believed_from_its_end(chain: str, address: str) -> None:
    assert reached({"x-forwarded-for": chain}).address == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={LIAR}, for={CLIENT}", CLIENT),
        (f'for="{CLIENT}:4711"', CLIENT),
        ('for="[2001:db8::7]:443";proto=https', "2001:db8::7"),
        (f"for={CLIENT};by={PROXY}, for={INNER}", CLIENT),
        (f'for="{LIAR}, for={LIAR}", for={CLIENT}', CLIENT),
        ("for=_hidden", PROXY),
        (f'for={LIAR}, for="{LIAR}', PROXY),  # a quote that does not end
        (f"for={LIAR}, {CLIENT}", PROXY),
        (f"for={LIAR}," * 5000 + f"for={CLIENT}", CLIENT),
        ("", PROXY),
    ],
)
def test_forwarded_is_believed_from_its_end(header: str, address: str) -> None:
    assert reached({"forwarded": header}, family="forwarded").address == address


@pytest.mark.parametrize(
    ("sent", "base_url"),
    [
        ({"x-forwarded-for": f"{LIAR}, {CLIENT}", "x-forwarded-proto": "http, https"}, "https://inside:8776"),
        ({"x-forwarded-for": f"{CLIENT}, {INNER}", "x-forwarded-proto": "https, http"}, "https://inside:8776"),
        ({"x-forwarded-for": f"{CLIENT}, {INNER}", "x-forwarded-proto": "https"}, "https://inside:8776"),
        ({"x-forwarded-proto": "HTTPS"}, "https://inside:8776"),
        ({"x-forwarded-proto": "javascript"}, "http://inside:8776"),
        ({"x-forwarded-proto": ",,"}, "http://inside:8776"),
        ({"x-forwarded-host": "evil.example, good.example"}, "http://good.example"),
        ({"x-forwarded-host": "[2001:db8::1]:8443"}, "http://[2001:db8::1]:8443"),
        ({"x-forwarded-host": "a b"}, "http://inside:8776"),
        ({"x-forwarded-host": "host/path?x=1"}, "http://inside:8776"),
        ({"x-forwarded-host": "user@host"}, "http://inside:8776"),
        ({"x-forwarded-prefix": "/a/b/"}, "http://inside:8776/a/b"),
        ({"x-forwarded-prefix": "//evil.example"}, "http://inside:8776"),
        ({"x-forwarded-prefix": "/a/../b?"}, "http://inside:8776"),
        ({"x-forwarded-prefix": "no-slash"}, "http://inside:8776"),
    ],
)
def test_links_are_what_the_outermost_believed_proxy_was_asked_for(sent: dict[str, str], base_url: str) -> None:
    assert reached(sent).base_url == base_url


def test_of_several_forwarded_hops_the_outermost_believed_one_counts() -> None:
    chain = (
        f"for={LIAR};host=evil.example;proto=http, for={CLIENT};host=good.example;proto=https, for={INNER};proto=http"
    )

    assert reached({"forwarded": chain}, family="forwarded") == Reached("https://good.example", CLIENT)


def test_an_address_of_ipv4_that_is_written_as_one_of_ipv6_is_the_same() -> None:
    assert reached({"x-forwarded-for": CLIENT}, peer=f"::ffff:{PROXY}").address == CLIENT


@pytest.mark.parametrize("host", ["", None])
def test_without_a_host_the_socket_s_own_address_is_linked(host: str | None) -> None:
    scope = {"client": None, "server": ("10.0.0.3", 8776), "scheme": "https", "root_path": "/x"}

    assert Proxies().reached(scope, {} if host is None else {"host": host}) == Reached("https://10.0.0.3:8776/x", "")


def test_the_api_links_to_where_it_was_asked_and_believes_no_stranger(api: Api) -> None:
    answer = api("GET", "/", token=None, headers={"Host": "cloud.example", "X-Forwarded-Proto": "https"})

    (version,) = answer.json()["versions"]
    assert {"rel": "self", "href": "http://cloud.example/v3/"} in version["links"]
