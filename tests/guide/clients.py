"""Clients of the one address who make volumes all the time, whatever happens to machines."""

import base64
import http.client
import json
import ssl
import threading
from pathlib import Path
from typing import Any, Final

__all__ = ["AGAIN", "PROJECT", "Api", "Makers"]

PROJECT: Final = "operators"
# What a client that tries again does.
AGAIN: Final = (OSError, http.client.HTTPException)
ANSWER_S: Final = 10.0
PAUSE_S: Final = 0.2


class Api:
    """Asks as the administrator of the page, on a connection for each request, and trusts the page's certificate alone."""

    def __init__(self, address: str, *, password: str, trusted: Path) -> None:
        self._address = address
        self._trust = ssl.create_default_context(cafile=str(trusted))
        self._who = base64.b64encode(f"admin:{password}".encode()).decode()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Raises one of AGAIN."""
        line = http.client.HTTPSConnection(self._address, 8776, timeout=ANSWER_S, context=self._trust)
        try:
            headers = {"Authorization": f"Basic {self._who}", "Content-Type": "application/json"}
            line.request(method, f"/v3/{PROJECT}{path}", None if body is None else json.dumps(body), headers)
            answer = line.getresponse()
            text = answer.read()
        finally:
            line.close()
        return answer.status, json.loads(text) if text else None


class Makers:
    """Several who each make one volume after the other. `accepted` has the ids of those that they were promised."""

    def __init__(self, api: Api, count: int = 2) -> None:
        self.accepted: list[str] = []
        self.refused: list[Any] = []
        """Answers that no client should get, whatever happens."""
        self.lost = 0
        """Requests without an answer."""
        self._api = api
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._make, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Makers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_S)

    def _make(self) -> None:
        while not self._enough.wait(PAUSE_S):
            try:
                status, answer = self._api.ask("POST", "/volumes", {"volume": {"size": 1}})
            except AGAIN:
                self.lost += 1
                continue
            if status == 202:
                self.accepted.append(answer["volume"]["id"])
            elif status != 503:  # which says itself when to come again
                self.refused.append((status, answer))
