"""What is kept because it broke something once: each body, sent to everything that takes one."""

import pytest
from tests.fuzz.corpus import BODIES
from tests.fuzz.test_bad_input import TAKE_BODIES, check
from tests.fuzz.world import KNOWN, FuzzApi


def path(template: str) -> bytes:
    """One of the routes' URLs with something that is there, or not, in place of each variable."""
    parts = [KNOWN[0] if part.startswith("{") else part for part in template.strip("/").split("/")]
    return "/".join(["/v3/p1", *parts]).encode()


@pytest.mark.parametrize("name", BODIES)
def test_no_kept_body_breaks_anything(api: FuzzApi, name: str) -> None:
    for target in TAKE_BODIES:
        content = BODIES[name].content
        if target.action is not None:
            content = b'{"%s":%s}' % (target.action.encode(), content)
        headers = [(b"openstack-api-version", b"volume 3.71"), (b"content-type", b"application/json")]
        answer = api.send(target.method, path(target.template), headers=headers, body=content)
        check(api, answer)
