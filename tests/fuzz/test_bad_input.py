"""Whatever a client sends, the answer is this API's, it is never the service's own failure, and a refusal changes nothing."""

import json
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.bodies import bodies, junk, kinds_of
from tests.fuzz.requests import headers, paths, queries, raw_queries
from tests.fuzz.world import TOO_LONG, Answer, FuzzApi

from breezeblock.api.errors import FAULT_NAMES, OTHER_FAULT
from breezeblock.api.routes import ROUTES, TOP

# A request that fails may be a long one, about which Hypothesis warns in the middle of its report.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "", "get", "É")
# Actions whose body nobody looks at, and the one URL that takes any map.
WITHOUT_BODY: Final = {
    "os-force_delete", "os-show_image_metadata", "os-unmanage", "os-reserve", "os-unreserve", "os-begin_detaching",
    "os-roll_detaching", "os-complete", "enable_replication", "disable_replication", "list_replication_targets",
    "os-hosts/{host}",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One thing that a client can ask for: a route, or one action of a route."""

    method: str
    template: str
    kinds: tuple[Any, ...]
    action: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.template}" + (f" {self.action}" if self.action else "")


def targets() -> list[Target]:
    found = []
    for route in ROUTES:
        if route.handler is not None:
            found.append(Target(route.method, route.template, tuple(kinds_of(route.handler))))
        for name, action in (route.actions or {}).items():
            found.append(Target(route.method, route.template, tuple(kinds_of(action.handler)), name))
    return found


TARGETS: Final = targets()
TAKE_BODIES: Final = [target for target in TARGETS if target.method in ("POST", "PUT")]


def check(api: FuzzApi, answer: Answer) -> None:
    """The promise, for one answer. Leaves the database as it was before the request."""
    assert 200 <= answer.status < 500 or answer.status == TOO_LONG, f"{answer.status}: {answer.body[:500]!r}"
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    if answer.status >= 400:
        (name,) = json.loads(answer.body)
        assert name == FAULT_NAMES.get(answer.status, OTHER_FAULT)
        assert isinstance(answer.fault["message"], str)
        assert answer.fault["message"].strip()
    elif answer.body and answer.headers.get("content-type", "").startswith("application/json"):
        json.loads(answer.body)
    if api.has_changed():
        if 400 <= answer.status < TOO_LONG:
            assert api.digest() == api.baseline, f"{answer.status} {answer.body[:200]!r} has changed rows"
        api.reset()


@pytest.mark.parametrize("target", TAKE_BODIES, ids=str)
@given(data=st.data())
def test_no_body_breaks_it(api: FuzzApi, target: Target, data: st.DataObject) -> None:
    path = data.draw(paths(target.template))
    body = data.draw(bodies(list(target.kinds), action=target.action))
    check(api, api.send(target.method, path, headers=data.draw(headers), body=body))


@pytest.mark.parametrize("target", [one for one in TARGETS if one.action is None], ids=str)
@given(data=st.data())
def test_no_query_breaks_it(api: FuzzApi, target: Target, data: st.DataObject) -> None:
    path = data.draw(paths(target.template))
    query = data.draw(st.one_of(queries, queries, queries, raw_queries))
    check(api, api.send(target.method, path + b"?" + query, headers=data.draw(headers), body=b""))


@given(
    method=st.sampled_from(METHODS),
    target=st.one_of(
        st.sampled_from([route.template for route in ROUTES]).flatmap(paths),
        st.sampled_from([path.encode() for path in TOP]),
        st.binary(max_size=30).map(lambda raw: b"/" + raw),
        st.binary(max_size=30).map(lambda raw: b"/v3/" + raw),
    ),
    sent=headers,
    body=junk,
)
def test_no_url_and_no_method_breaks_it(
    api: FuzzApi, method: str, target: bytes, sent: list[tuple[bytes, bytes]], body: Any
) -> None:
    check(api, api.send(method, target, headers=sent, body=json.dumps(body).encode()))


@pytest.mark.parametrize("target", TAKE_BODIES, ids=str)
def test_what_each_handler_takes_is_known_here(target: Target) -> None:
    """Otherwise the bodies above would be nothing but junk, which is refused at the door."""
    assert target.kinds or (target.action or target.template) in WITHOUT_BODY
