"""Who kills and stops processes, at random from a seed."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Final

from tests.service import Service, is_running

EVERY_S: Final = (1.0, 3.0)
STOPPED_S: Final = (0.1, 6.0)
KINDS: Final = ("worker", "keeper", "api")
WAYS: Final = ("kill", "stop")
LOOK_EVERY_S: Final = 0.05


class Nemesis:
    """Every few seconds one process of the service dies, or stands still for a while. Never `up` itself."""

    def __init__(self, service: Service, *, seed: int) -> None:
        self._service = service
        self._random = random.Random(f"{seed}-nemesis")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self.done: Counter[str] = Counter()
        self.diary: list[str] = []
        self._stopped: dict[int, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nothing stands still afterwards."""
        self._ended.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        strike_at = time.monotonic()
        while not self._ended.is_set():
            now = time.monotonic()
            if now >= strike_at:
                self._strike(now)
                strike_at = now + self._random.uniform(*EVERY_S)
            self._wake(now)
            time.sleep(LOOK_EVERY_S)
        self._wake(float("inf"))

    def _strike(self, now: float) -> None:
        kind, way = self._random.choice(KINDS), self._random.choice(WAYS)
        pids = sorted(self._pids(kind))
        seconds = self._random.uniform(*STOPPED_S)
        if not pids:
            return
        pid = self._random.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if way == "kill" else signal.SIGSTOP)
            self.done[f"{way} {kind}"] += 1
            self.diary.append(
                f"{time.time():.3f} {way} {kind} {pid}" + (f" for {seconds:.1f} s" if way == "stop" else "")
            )
            if way == "stop":
                self._stopped[pid] = now + seconds

    def _pids(self, kind: str) -> list[int]:
        if kind == "api":
            return self._service.api_pids
        if kind == "keeper":
            return list(self._service.keeper_pids.values())
        return [pid for node in self._service.keeper_pids if (pid := self._service.worker_pid(node))]

    def _wake(self, now: float) -> None:
        for pid in [pid for pid, until in self._stopped.items() if until <= now]:
            del self._stopped[pid]
            if is_running(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
