"""The connection of a client that wants to know what became of each request, and asks nothing twice."""

import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["REQUEST_TIMEOUT_S", "Http"]

REQUEST_TIMEOUT_S: Final = 20.0


class Http:
    """A connection that is kept while it works."""

    def __init__(self, endpoint: str) -> None:
        at = urlsplit(endpoint)
        self._host, self._port = str(at.hostname), at.port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
        """Raises ConnectionRefusedError before anything was sent, and OSError or HTTPException when nobody knows."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_TIMEOUT_S)
            self._connection.connect()
        headers = {"OpenStack-API-Version": "volume 3.71", "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            raw = answer.read()
        except BaseException:
            self.close()
            raise
        said = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(raw) if raw[:1] in (b"{", b"[") else None, said

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
