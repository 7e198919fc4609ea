"""What is hidden of a URL, however it is written."""

import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breezeblock.settings import mask_url_secrets

# A secret is this word, somewhere among signs that mean something in a URL, and may be there more than once.
WORD: Final = "hush"
SIGNS: Final = (
    "@",
    ":",
    "/",
    "?",
    "#",
    ";",
    "=",
    "%",
    "%40",
    "%2F",
    "'",
    '"',
    "<",
    ">",
    ",",
    "[",
    "]",
    "\\",
    "$",
    "é",
    "x",
    "?a=",
)
AUTHORITY: Final = st.lists(st.sampled_from((WORD, *SIGNS, "&")), max_size=6).map("".join)
VALUE: Final = st.lists(st.sampled_from((WORD, *SIGNS)), max_size=6).map("".join)
NAMES: Final = (
    "password",
    "sslpassword",
    "ssl_password",
    "PASSWD",
    "pwd",
    "pass",
    "pass%77ord",
    "token",
    "client_secret",
    "passphrase",
)
SCHEMES: Final = ("postgresql", "mysql+pymysql", "amqps", "redis", "rabbit", "https")
USERS: Final = ("", "u", "u%3Aser", "u@directory", "d\\u")


@st.composite
def urls(draw: st.DrawFn, *, spaces: str = "") -> str:
    """With a secret in each place that may have one."""
    hosts = []
    for host in ("h1", "[::1]:5672"):
        secret = f"{draw(AUTHORITY)}{spaces}{WORD}{draw(AUTHORITY)}"
        hosts.append(f"{draw(st.sampled_from(USERS))}:{secret}@{host}")
    parameters = [
        f"{draw(st.sampled_from(NAMES))}={draw(VALUE)}{spaces}{WORD}{draw(VALUE)}"
        for _ in range(draw(st.integers(0, 2)))
    ]
    parameters.insert(draw(st.integers(0, len(parameters))), "charset=utf8")
    return f"{draw(st.sampled_from(SCHEMES))}://{','.join(hosts)}/name?{'&'.join(parameters)}"


@given(urls())
def test_no_secret_of_a_url_in_a_text_is_shown(url: str) -> None:
    masked = mask_url_secrets(f"it said: {url} is away ({url!r})")

    assert WORD not in masked
    assert masked.startswith("it said: ")
    assert " is away " in masked


@given(urls(spaces=" "))
def test_a_url_alone_may_have_spaces(url: str) -> None:
    """As a person writes a password, and as it is shown again when it is refused."""
    assert WORD not in mask_url_secrets(url, is_url=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://u:p@h/d", "mysql://u:***@h/d"),
        ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://u:p@h1:5672,u:p@h2:5672/", "amqp://u:***@h2:5672/"),
        ("postgresql://u@h:5432/d?sslmode=require", "postgresql://u@h:5432/d?sslmode=require"),
        ("postgresql:///d?host=h&password=a@b&user=u", "postgresql:///d?host=h&password=***&user=u"),
        ("https://h/o?X-Amz-Signature=p&X-Amz-Date=1", "https://h/o?X-Amz-Signature=***&X-Amz-Date=1"),
        ("https://h/o?temp_url_sig=p&design=x", "https://h/o?temp_url_sig=***&design=x"),
        ("https://h/o?key=p&api_key=p&code=p&keyspace=x", "https://h/o?key=***&api_key=***&code=***&keyspace=x"),
        ("see https://h/a and write to me@example.org", "see https://h/a and write to me@example.org"),
        ("http://127.0.0.1:8776/v3 was asked by a:b", "http://127.0.0.1:8776/v3 was asked by a:b"),
        ("no URL: password=p", "no URL: password=p"),
    ],
)
def test_what_is_no_secret_is_shown(text: str, shown: str) -> None:
    assert mask_url_secrets(text) == shown


@pytest.mark.parametrize("part", ["://a:", "?password=", "://:@;token=", "x:// "])
def test_a_text_made_to_be_slow_is_not(part: str) -> None:
    """Errors quote what clients send, and are looked through where everybody's requests are answered."""
    began = time.thread_time()

    mask_url_secrets(f"a://{part * 40_000}")

    assert time.thread_time() - began < 2.0
