"""What arrives of a request, within bounds: its URL, its headers, its body.

The server in front (`processes/server.py`) has bounds of its own, which keep a connection from taking memory before there is a
request; what exceeds those is refused without a body, since nobody has read enough to say more. Here are the tighter ones,
answered as this API answers.
"""

import asyncio
import re
from typing import Any, Final

from starlette.types import Message, Receive

from breezeblock.api.errors import Refused
from breezeblock.model.errors import BadRequest

__all__ = ["BODY_BYTES_MAX", "Headers", "bounded", "read_body", "read_headers"]

# Far above any body of this API (255 characters of everything, some hundred metadata keys), far below trouble.
BODY_BYTES_MAX: Final = 114_688
# The longest that clients send are filters over some metadata keys. Behind a URL that is longer stands a mistake or worse.
URL_BYTES_MAX: Final = 16_384
# Tokens are the long ones: up to some 8 KiB where they carry a catalogue.
HEADERS_BYTES_MAX: Final = 65_536
# The server itself takes no more than a hundred (`hyper`).
HEADERS_MOST: Final = 96
JSON_TYPES: Final = ("application/json", "application/vnd.openstack.volume+json")
NO_NUL: Final = "the character U+0000 cannot be part of a text here"
_DIGITS = re.compile(r"[0-9]{1,20}\Z")
# U+0000 as JSON writes it, after an even number of backslashes. PostgreSQL keeps no such text, so nothing here does.
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Who has sent half a body keeps the connection busy with it: the rest is not waited for.
CLOSE: Final = {"Connection": "close"}

Headers = dict[str, str]
_Scope = Any


def bounded(scope: _Scope) -> None:
    """Raises Refused (414, 431) for a URL or headers beyond their bounds."""
    url = len(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")) + len(scope["query_string"])
    if url > URL_BYTES_MAX:
        raise Refused(414, f"The URL has {url} bytes: at most {URL_BYTES_MAX} are taken. Use shorter or fewer filters.")
    headers = scope["headers"]
    if len(headers) > HEADERS_MOST:
        raise Refused(431, f"The request has {len(headers)} headers: at most {HEADERS_MOST} are taken.")
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADERS_BYTES_MAX:
        raise Refused(431, f"The headers have {size} bytes: at most {HEADERS_BYTES_MAX} are taken.")


def read_headers(scope: _Scope) -> Headers:
    """Headers by lower-case name; repeated ones joined with a comma, as HTTP lets us."""
    found: Headers = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


async def read_body(receive: Receive, headers: Headers, *, timeout_s: float) -> bytes:
    """The whole body, if it is JSON, not too long, and there in time. Raises Refused, BadRequest."""
    declared = headers.get("content-length", "")
    if _DIGITS.match(declared) and int(declared) > BODY_BYTES_MAX:
        message = f"The body has {declared} bytes: at most {BODY_BYTES_MAX} are taken."
        raise Refused(413, message, headers=CLOSE)
    try:
        async with asyncio.timeout(timeout_s):
            body = await _whole(receive)
    except TimeoutError as error:
        message = f"The body was not complete after {timeout_s:g} s: send it at once, and faster."
        raise Refused(408, message, headers=CLOSE) from error
    if b"\\u0000" in body and _NUL_IN_JSON.search(body):
        raise BadRequest(f"Malformed request body: {NO_NUL}.")
    media_type = headers.get("content-type", "").split(";")[0].strip().lower()
    if body and media_type and media_type not in JSON_TYPES:
        raise Refused(415, f"Content-Type {media_type} is not taken: expected {JSON_TYPES[0]}.")
    return body


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request ended before its body did.", headers=CLOSE)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES_MAX:
            raise Refused(413, f"The body is too long: at most {BODY_BYTES_MAX} bytes are taken.", headers=CLOSE)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
