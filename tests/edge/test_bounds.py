"""What a connection and a request may take, tried with raw bytes on the real server."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.edge.front import HOST, Raw, front, read, say
from tests.fuzz.corpus import BODIES, REQUESTS

from breezeblock.api.incoming import BODY_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MOST, URL_BYTES_MAX
from breezeblock.processes.server import HEAD_BYTES_MAX

TIMEOUT_S: Final = 0.6
GET: Final = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
# A type, which takes no node and no storage.
POST: Final = b"POST /v3/p1/types HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n%s"
FINE: Final = GET % (b"/v3/p1/volumes", b"")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    environ = {
        "LIMITS__HEADER_TIMEOUT_S": str(TIMEOUT_S),
        "LIMITS__BODY_TIMEOUT_S": str(TIMEOUT_S),
        "LIMITS__UNREAD_TIMEOUT_S": str(TIMEOUT_S),
    }
    with front(tmp_path_factory.mktemp("front"), environ) as port:
        yield port


def refusal(answer: Raw) -> str:
    """Its message, if it is in the API's form."""
    ((_, fault),) = json.loads(answer.body).items()
    assert fault["code"] == answer.status
    return str(fault["message"])


def posted(body: bytes, headers: bytes | None = None) -> bytes:
    return POST % (b"Content-Length: %d\r\n" % len(body) if headers is None else headers, body)


# --- URL and headers --------------------------------------------------------------------------------------------------


def test_a_url_that_is_too_long_is_refused_with_its_length(port: int) -> None:
    answer = say(port, GET % (b"/v3/p1/volumes?name=" + b"a" * URL_BYTES_MAX, b""))

    assert answer.status == 414
    assert str(URL_BYTES_MAX) in refusal(answer)
    assert say(port, GET % (b"/v3/p1/volumes?name=" + b"a" * (URL_BYTES_MAX - 100), b"")).status == 200


def test_headers_that_are_too_long_are_refused(port: int) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 7000) for number in range(10))
    answer = say(port, GET % (b"/v3/p1/volumes", lines))

    assert answer.status == 431
    assert str(HEADERS_BYTES_MAX) in refusal(answer)


def test_too_many_headers_are_refused(port: int) -> None:
    answer = say(port, GET % (b"/v3/p1/volumes", b"".join(b"X-%d: a\r\n" % one for one in range(HEADERS_MOST))))

    assert answer.status == 431
    assert str(HEADERS_MOST) in refusal(answer)


@pytest.mark.parametrize(
    "request_",
    [
        GET % (b"/v3/" + b"a" * 66_000, b""),
        GET % (b"/v3/p1/volumes", b"X: " + b"a" * (HEAD_BYTES_MAX + 1) + b"\r\n"),
        GET % (b"/v3/p1/volumes", b"".join(b"X-%d: a\r\n" % one for one in range(5000))),
        b"GET " + b"a" * (HEAD_BYTES_MAX * 2),
        b"X" * (HEAD_BYTES_MAX * 2),
    ],
    ids=["url", "header", "headers", "endless-url", "endless-method"],
)
def test_what_is_far_too_long_is_refused_by_the_server_itself_and_ends_the_connection(
    port: int, request_: bytes
) -> None:
    answer = say(port, request_, until=99)

    assert answer.ended
    assert all(status in (400, 414, 431) for status in answer.statuses)
    assert say(port, FINE).status == 200


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(port: int) -> None:
    answer = say(port, posted(b"", b"Content-Length: 9999999999\r\n"))

    assert answer.status == 413
    assert "9999999999" in refusal(answer)


def test_a_body_without_an_end_is_refused_when_it_is_too_long(port: int) -> None:
    """In chunks nobody says before how long it will be."""
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answer = say(port, posted(b"", b"Transfer-Encoding: chunked\r\n"), *[chunk] * 20)

    assert answer.status == 413
    assert str(BODY_BYTES_MAX) in refusal(answer)


def test_a_body_in_chunks_is_a_body(port: int) -> None:
    chunks = (
        b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (b'{"volume_type"', b':{"name":"gold"', b"}}"))
        + b"0\r\n\r\n"
    )

    assert say(port, posted(chunks, b"Transfer-Encoding: chunked\r\n")).status == 200


@pytest.mark.parametrize("name", BODIES)
def test_json_that_no_one_means_is_a_bad_request(port: int, name: str) -> None:
    answer = say(port, posted(BODIES[name].content))

    assert answer.status == 400
    assert refusal(answer)


def test_of_a_key_that_comes_twice_the_last_counts(port: int) -> None:
    """As for every JSON reader that clients and proxies are likely to have."""
    answer = say(port, posted(b'{"volume_type":{"name":"first","name":"last"}}'))

    assert answer.status == 200
    assert json.loads(answer.body)["volume_type"]["name"] == "last"


# --- slow clients -----------------------------------------------------------------------------------------------------


def dripped(port: int, beginning: bytes, drop: bytes, *, most_s: float) -> tuple[Raw, float]:
    """Send a byte now and then until the other end has had enough."""
    began = time.monotonic()
    with socket.create_connection((HOST, port), timeout=0.1) as connection:
        connection.sendall(beginning)
        while time.monotonic() - began < most_s:
            answer = read(connection, until=1)
            if answer.content or answer.ended:
                return answer, time.monotonic() - began
            try:
                connection.sendall(drop)
            except OSError:
                return Raw(b"", ended=True), time.monotonic() - began
    raise AssertionError(f"still waited for after {most_s} s")


def test_headers_that_come_too_slowly_are_not_waited_for(port: int) -> None:
    answer, took_s = dripped(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"a", most_s=TIMEOUT_S * 5)

    assert answer.ended or answer.status == 408
    assert took_s >= TIMEOUT_S * 0.9


def test_a_body_that_comes_too_slowly_is_refused_as_a_whole(port: int) -> None:
    """Each byte is in time, and the body never is."""
    answer, took_s = dripped(port, posted(b"", b"Content-Length: 1000\r\n"), b" ", most_s=TIMEOUT_S * 5)

    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert f"{TIMEOUT_S:g} s" in refusal(answer)
    assert took_s >= TIMEOUT_S * 0.9


def test_an_idle_connection_is_closed(port: int) -> None:
    for beginning in (b"", FINE):
        with socket.create_connection((HOST, port), timeout=TIMEOUT_S * 5) as connection:
            connection.sendall(beginning)
            answer = read(connection, until=99)
        assert answer.ended
        assert answer.statuses == [200] * bool(beginning)


def test_a_client_that_reads_nothing_is_given_up(port: int) -> None:
    """What it does not take is in our memory. The kernel ends the connection, however full its buffers are."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, port))
        connection.settimeout(TIMEOUT_S * 15)
        request = GET % (b"/openapi.json", b"")
        connection.sendall(request * 40)
        own = connection.getsockname()[1]
        ended_by = time.monotonic() + TIMEOUT_S * 15
        while _is_held(port, own) and time.monotonic() < ended_by:
            time.sleep(0.1)
        assert not _is_held(port, own)


def _is_held(port: int, peer: int) -> bool:
    """Whether the kernel keeps the server's end of a connection. Nobody tells its client: that reads nothing."""
    ours = f"0100007F:{port:04X} 0100007F:{peer:04X} "
    return any(ours in line for line in Path("/proc/net/tcp").read_text().splitlines())


# --- shapes of HTTP ---------------------------------------------------------------------------------------------------


def test_requests_that_come_at_once_are_answered_in_their_order(port: int) -> None:
    answer = say(port, FINE + GET % (b"/nowhere", b"") + FINE, until=3)

    assert answer.statuses == [200, 404, 200]


@pytest.mark.parametrize(
    "request_", [FINE, POST % (b"Content-Length: 100\r\n", b'{"volume_type":')], ids=["whole", "half"]
)
def test_a_client_that_closes_its_end_is_taken_for_gone(port: int, request_: bytes) -> None:
    answer = say(port, request_, shut=True, until=99)

    assert answer.ended
    assert answer.statuses in ([], [200], [400])
    assert say(port, FINE).status == 200


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_known_to_be_nasty_is_refused_and_ends_the_connection(port: int, name: str) -> None:
    """What stands behind such a request is not read as a second one, which may be somebody else's."""
    one = REQUESTS[name]
    answer = say(port, one.content, until=99)

    assert answer.ended
    assert tuple(answer.statuses) in one.statuses
    assert say(port, FINE).status == 200


def test_answers_say_neither_what_serves_them_nor_that_others_may_read_them(port: int) -> None:
    headers = say(port, GET % (b"/v3/p1/volumes", b"Origin: https://evil.example\r\n")).headers

    assert headers["server"] == "breezeblock"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]


def test_more_connections_than_one_process_holds_wait_and_are_served(tmp_path: Path) -> None:
    """Those that are idle make way after the time that headers may take."""
    with front(tmp_path, {"LIMITS__CONNECTIONS": "16", "LIMITS__HEADER_TIMEOUT_S": "0.5"}) as port:
        idle = [socket.create_connection((HOST, port), timeout=5) for _ in range(20)]
        try:
            assert say(port, FINE).status == 200
        finally:
            for one in idle:
                one.close()
