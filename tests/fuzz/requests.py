"""Where requests go and what they say beside their body: paths, queries and headers that are nearly right, or not at all."""

from typing import Final
from urllib.parse import quote

from hypothesis import strategies as st
from tests.fuzz.bodies import texts
from tests.fuzz.world import KNOWN, PROJECT

from breezeblock.api.handlers import snapshots, types, volumes
from breezeblock.api.microversions import NEWEST, OLDEST

# --- paths ------------------------------------------------------------------------------------------------------------

RAW_PARTS: Final = (
    b"%00", b"..", b"%2e%2e", b"%2F", b"%", b"%zz", b"%ff%fe", b"%ed%a0%80", b"%F0%9F%98%80", b"'%20OR%201=1--", b"a" * 5000,
    b"\xc3\xa9", b"\xff", b"AAAAAAAA-0000-4000-8000-000000000001", b"aaaaaaaa00004000800000000000000%31",
    b"00000000-0000-0000-0000-000000000000", b"-1", b"0", b"*", b"{volume_id}", b"%7B%7D", b"+", b"a;b", b"a=b", b"%0d%0a",
)  # fmt: skip


def _quoted(text: str) -> bytes:
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


parts = st.one_of(
    st.sampled_from(KNOWN).map(_quoted),
    st.sampled_from(KNOWN).map(_quoted),
    st.sampled_from(RAW_PARTS),
    texts.map(_quoted),
    st.uuids().map(lambda one: str(one).encode()),
)
prefixes = st.sampled_from(
    (
        b"/v3/p1",
        b"/v3/p1",
        b"/v3/p1",
        b"/v3",
        b"/v3/other",
        b"/v3/p%00",
        b"/v3/" + b"p" * 300,
        b"/v3//",
        b"/v3/%F0%9F%98%80",
    )
)


@st.composite
def paths(draw: st.DrawFn, template: str) -> bytes:
    """A path that this template means, with anything in the places of its variables."""
    found = [draw(parts) if part.startswith("{") else part.encode() for part in template.strip("/").split("/") if part]
    return b"/".join([draw(prefixes), *found]) + draw(st.sampled_from((b"", b"", b"", b"/", b"//")))


# --- queries ----------------------------------------------------------------------------------------------------------

PARAMETERS: Final = tuple(
    sorted(
        {
            "limit", "marker", "offset", "sort", "sort_key", "sort_dir", "with_count", "all_tenants", "all_projects",
            "cascade", "force", "usage", "skip_validation", "host", "binary", "tenant_id", "detail", "name~", "unknown",
            "volume_type", "is_up", "disabled", "replication_status", "message_level", "event_id", "resource_uuid",
            *volumes.LISTS.filters, *snapshots.LISTS.filters, *types.LISTS.filters,
        }
    )
)  # fmt: skip
QUERY_VALUES: Final = (
    "0", "1", "-1", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "1" * 4000, "1" * 5000,
    "true", "false", "TRUE", "maybe", "asc", "desc", "created_at:asc", "name", "name:up", "size:asc,size:desc", ":", ",",
    "id:asc,name:desc,created_at", "metadata", "gt:2026-01-01", "lt:0001-01-01T00:00:00+23:59", "gte:9999-12-31T23:59:59-23:59",
    "eq:2026-01-01,lt:x", "neq:", "{}", "{'a': 'b'}", '{"a": "b"}', "{'a': {'b': []}}", "{[]: 1}", "{{}: 1}", "{1}",
    "{'\\ud800': 1}", '{"\\ud800": 1}', "{'a': '\\ud800'}", "{'a': 1e999}", "(" * 300, "[" * 5000, "{'a': -" + "-" * 5000,
    "9" * 5000 + "j", "b'a'", "{'a': b'\\xff'}", "{'k': " + "1" * 4500 + "}", "\x00", "{\x00}", "none", "None", "*", "%", "_",
    "{'a':" * 150 + "1" + "}" * 150, "f'{1}'", "...", "1 if 1 else 2",
)  # fmt: skip

queries = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(PARAMETERS), st.sampled_from(PARAMETERS), st.sampled_from(PARAMETERS), texts),
        st.one_of(st.sampled_from(QUERY_VALUES), st.sampled_from(QUERY_VALUES), st.sampled_from(KNOWN), texts),
    ),
    max_size=3,
).map(lambda pairs: b"&".join(_quoted(name)[:9_000] + b"=" + _quoted(value)[:9_000] for name, value in pairs))
raw_queries = st.sampled_from((b"&&&", b"=", b"limit", b"limit=%", b"name=%ff", b"\xff=\xfe", b"a=1&a=2", b"%00=%00"))

# --- headers ----------------------------------------------------------------------------------------------------------

_VERSIONS: Final = (
    *(f"volume {OLDEST.major}.{minor}" for minor in range(OLDEST.minor, NEWEST.minor + 1)),
    *(f"volume {NEWEST}",) * 60,
    "volume latest", "volume 3.999", "volume 2.0", "volume 3", "volume", "", "3.60", "compute 2.1", "volume 3.-1",
    "volume 3." + "9" * 5000, "volume 3.1,volume 3.2", "volume  3.5", "VOLUME 3.5", "volume 3.5.5", "volume ٣.٣", "volume \x00",
)  # fmt: skip
_TOKENS: Final = (f"user:{PROJECT}",) * 5 + (
    "", ":", "::", "user:", f":{PROJECT}", "user:other", "gAAAAABtoken", "admin:" + "x" * 5000, "a\x00:p1", "é:p1",
)  # fmt: skip
_TYPES: Final = ("application/json",) * 12 + (
    "", "application/json; charset=utf-16", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json", ";",
    "APPLICATION/JSON", "application/vnd.openstack.volume+json", "\xff",
)  # fmt: skip
_ODD: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-length", b"-1"), (b"content-length", b"99999999999999999999"), (b"content-length", "²".encode("latin-1")),
    (b"if-match", b'"x"'), (b"if-match", b"*"), (b"if-match", b",,,"), (b"host", b""), (b"host", b"\xff\xfe"),
    (b"x-forwarded-proto", b",,"), (b"x-openstack-request-id", b"req-" + b"0" * 36), (b"accept", b"text/html"),
    (b"x-auth-token", b"second:p1"), (b"transfer-encoding", b"gzip"), (b"expect", b"100-continue"), (b"cookie", b"\x00"),
)  # fmt: skip


def _headers(version: str, token: str, media: str, odd: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    sent = [(b"openstack-api-version", version), (b"x-auth-token", token), (b"content-type", media)]
    return [(name, value.encode("utf-8")) for name, value in sent if value] + odd


headers = st.builds(
    _headers,
    st.sampled_from(_VERSIONS),
    st.sampled_from(_TOKENS),
    st.sampled_from(_TYPES),
    st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(_ODD), max_size=2)),
)
