"""Rules of application credentials."""

import time

import pytest

from breezeblock.api.identity.access_rules import PATH_CHARACTERS_MOST, allows
from breezeblock.api.identity.tokens import AccessRule


@pytest.mark.parametrize(
    ("pattern", "path", "is_allowed"),
    [
        ("/v3/volumes", "/v3/volumes", True),
        ("/v3/volumes", "/v3/volumes/", False),
        ("/v3/volumes", "/v3/volumes2", False),
        ("/v3/*/volumes", "/v3/p1/volumes", True),
        ("/v3/*/volumes", "/v3/p1/x/volumes", False),
        ("/v3/*/volumes", "/v3//volumes", False),
        ("/v3/{project_id}/volumes/{id}", "/v3/p1/volumes/7", True),
        ("/v3/{project_id}/volumes/{id}", "/v3/p1/volumes/7/action", False),
        ("/v3/**", "/v3/p1/volumes/7/action", True),
        ("/v3/**", "/v3/", True),
        ("**/volumes", "/v3/p1/volumes", True),
        ("**/volumes/**", "/v3/p1/volumes", False),
        ("/v3/{project", "/v3/{project", True),
        ("/v3/.*", "/v3/volumes", False),
        ("**", "", True),
        ("", "/v3", False),
    ],
)
def test_a_path_is_matched_as_everywhere(pattern: str, path: str, is_allowed: bool) -> None:
    """`*` and `{name}` are a part, `**` is anything, and nothing else has a meaning."""
    assert allows([AccessRule("volumev3", "GET", pattern)], "GET", path) == is_allowed


@pytest.mark.parametrize(
    ("service", "method", "is_allowed"),
    [("block-storage", "GET", True), ("volumev3", "GET", True), ("volumev3", "POST", False), ("compute", "GET", False)],
)
def test_a_rule_is_for_a_service_and_a_method(service: str, method: str, is_allowed: bool) -> None:
    assert allows([AccessRule(service, method, "**")], "GET", "/v3/volumes") == is_allowed


def test_no_rule_allows_nothing() -> None:
    assert not allows([], "GET", "/v3/volumes")


def test_rules_made_to_be_slow_together_are_not() -> None:
    """Keystone takes as many as one likes. What costs too much is allowed nothing, also what a later rule would allow."""
    path = "a" * (PATH_CHARACTERS_MOST - 1) + "b"
    slow = [AccessRule("volumev3", "GET", "**a" * 70)] * 500
    began = time.thread_time()

    assert not allows([*slow, AccessRule("volumev3", "GET", "**")], "GET", path)
    assert time.thread_time() - began < 1.0
    assert allows([AccessRule("volumev3", "GET", "**"), *slow], "GET", path)
    others = [AccessRule("volumev3", "GET", "/v3/*/snapshots")] * 500
    assert allows([*others, AccessRule("volumev3", "GET", "**")], "GET", "/v3")


def test_a_pattern_made_to_be_slow_is_not() -> None:
    """Users write them, and they are matched where everybody's requests are answered."""
    pattern, path = "**a" * 42, "a" * (PATH_CHARACTERS_MOST - 1) + "b"
    began = time.thread_time()

    assert not allows([AccessRule("volumev3", "GET", pattern)], "GET", path)
    assert not allows([AccessRule("volumev3", "GET", "**")], "GET", path + "b")
    assert time.thread_time() - began < 1.0
