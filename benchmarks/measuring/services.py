"""Services under measurement: how they are started, what they weigh, and how they are lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from load import Target

from breezeblock.chaos.service import Service, start

__all__ = [
    "DEFAULT_TTL_S",
    "PROJECT",
    "call_shell",
    "lose",
    "memory",
    "peer_memory",
    "quantile",
    "running",
    "say",
    "target_of",
    "until",
]

PROJECT: Final = "0123456789abcdef0123456789abcdef"
# What a limit refuses is not what is measured.
UNLIMITED: Final = {
    "BREEZEBLOCK_QUOTA__VOLUMES": "-1",
    "BREEZEBLOCK_QUOTA__GIGABYTES": "-1",
    "BREEZEBLOCK_BACKENDS__FILE__MAX_OVER_SUBSCRIPTION_RATIO": "1000",
    "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
}
# As `breezeblock up` has it when nothing is chosen.
DEFAULT_TTL_S: Final = 6.0


@contextmanager
def running(
    data: Path,
    *,
    url: str | None = None,
    nodes: int = 2,
    workers: int = 1,
    ttl_s: float = DEFAULT_TTL_S,
    chosen: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """`breezeblock up` on a folder, and on a database if one is named, ready; ended after the block."""
    environ = UNLIMITED | ({"BREEZEBLOCK_DATABASE__URL": url} if url else {}) | dict(chosen or {})
    service = start(data, nodes=nodes, workers=workers, ttl_s=ttl_s, environ=environ)
    try:
        yield service
    finally:
        service.end()


def target_of(service: Service, name: str = "breezeblock") -> Target:
    """Where its API is asked."""
    return Target(name, f"{service.endpoint}/v3/{PROJECT}", f"admin:{PROJECT}")


def lose(pids: list[int]) -> None:
    """SIGKILL for all of them, the first of them first, so that nobody has the time to start another in its place."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has died with its parent
            os.kill(pid, signal.SIGKILL)


def memory(service: Service) -> dict[str, float]:
    """PSS in MiB by kind of process, and their sum."""
    found: dict[str, float] = {}
    for pid in service.pids():
        with contextlib.suppress(OSError):  # it has ended
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            kind = next((k for k in ("keeper", "worker", "api") if f"processes.{k}" in command), "supervisor")
            found[kind] = round(found.get(kind, 0.0) + _pss_mib(pid), 1)
    return found | {"sum": round(sum(found.values()), 1)}


def peer_memory(pattern: str) -> float:
    """PSS in MiB of all processes whose command lines contain `pattern`, but for this one."""
    mine = (os.getpid(), os.getppid())
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in mine:
            with contextlib.suppress(OSError):  # it has ended
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                total += _pss_mib(int(entry.name)) if pattern in command else 0.0
    return round(total, 1)


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def call_shell(command: str) -> None:
    """Run what the command line names. Raises CalledProcessError."""
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S602 - the reader's own words


def quantile(values: list[float], share: float) -> float:
    """What `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def until(holds: Callable[[], object], *, what: str, within_s: float = 60.0, every_s: float = 0.01) -> float:
    """How many seconds it took until it held. Raises SystemExit when it does not come."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within_s:
            raise SystemExit(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def end_in_order() -> None:
    """Let SIGTERM end this process as Ctrl-C does: with everything that it has started."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
