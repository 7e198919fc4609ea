"""What the production fences (`node.fences`) find below them in a simulation, and what may go wrong with it.

same_machine   the lock files of the one machine on which all nodes run
boot           what machines say of themselves: which they are, and under which boot they run
storage        a storage that refuses clients, and the drivers that ask it to
trust          a clock, for the wait until everything has landed
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final, Self

from breezeblock.drivers.contract import Driver, FenceScope
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Clock, Env, Processes
from breezeblock.model.errors import BackendFailed
from breezeblock.node.backends import Backend
from breezeblock.node.fences import Boot, Fence, Fences, SameMachine, Storage, Trust
from breezeblock.testing.faults import Faults
from breezeblock.testing.loop import Process
from breezeblock.testing.memory_files import MemoryFiles
from breezeblock.testing.replicating import Array, ReplicatingDriver

__all__ = ["FENCES", "TRUST_SETTLE_S", "Client", "Refusals", "open_driver", "open_fences"]

# How a lost node is kept from writing. "kill": its processes are killed. "storage": the storage refuses it, and it lives on,
# so that every guard of the database meets its late calls. "trust": nothing but its lease; only without stopped processes.
FENCES: Final = ("kill", "storage", "trust")
# How long a write of a silenced node may be on its way where nothing but its lease keeps it from writing.
TRUST_SETTLE_S: Final = 2.0
CLIENT: Final = "client"


def open_fences(
    kind: str,
    backends: Mapping[str, Backend],
    *,
    processes: Processes,
    clock: Clock,
    faults: Faults,
    me: Process,
    boot: Boot | None = None,
) -> Fences:
    """What may fence each backend, in the order of `wiring.open_fences`; its faults are those of `me`, who fences."""
    boots: tuple[Fence, ...] = () if boot is None else (boot,)
    if kind == "kill":
        same_machine = SameMachine(_Processes(processes, faults, me))
        return dict.fromkeys(backends, (same_machine, *boots))
    if kind == "storage":
        return {queue: (*boots, Storage(backend.driver)) for queue, backend in backends.items()}
    trust = {queue: Trust(clock=_Clock(clock, faults, me), settle_s=TRUST_SETTLE_S) for queue in backends}
    return {queue: (*boots, one) for queue, one in trust.items()}


def open_driver(kind: str, env: Env, *, name: str, client: "Client", array: Array | None) -> Driver:
    """The driver of one backend in one worker, with a storage that can refuse clients where that is the fence."""
    options: dict[str, Any] = {"name": name, "clock": env.clock, "ids": env.ids, "trusted_shared": kind == "trust"}
    options |= {"path": PurePosixPath("/") / name} if array is None else {"array": array}
    if kind == "storage":
        refusing = RefusingFileDriver if array is None else RefusingArrayDriver
        return refusing.known_as(client, env.files, **options)
    assert isinstance(env.files, MemoryFiles)
    return FileDriver(env.files, **options) if array is None else ReplicatingDriver(env.files, **options)


@dataclass(frozen=True)
class _Processes:
    """Implements `env.contract.Processes` for the fence, which meets trouble when it kills."""

    _real: Processes
    _faults: Faults
    _me: Process

    async def kill_holders(self, lock_path: str, lock_id: str) -> bool:
        return await self._faults.fence(self._me, lambda: self._real.kill_holders(lock_path, lock_id))

    async def nobody_holds(self, lock_path: str, lock_id: str) -> bool:
        return await self._real.nobody_holds(lock_path, lock_id)


@dataclass(frozen=True)
class _Clock:
    """Implements `env.contract.Clock` for a fence that only waits: it may wait for longer than it meant to."""

    _real: Clock
    _faults: Faults
    _me: Process

    def boottime(self) -> float:
        return self._real.boottime()

    def now_us(self) -> int:
        return self._real.now_us()

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(max(0.0, seconds) + self._faults.oversleep_s(self._me))


class Refusals:
    """Which clients the storage of each backend refuses, for ever."""

    def __init__(self, on_refuse: Callable[[str, str], None]) -> None:
        """`on_refuse` is told the backend and the client."""
        self._refused: set[tuple[str, str]] = set()
        self._on_refuse = on_refuse

    def refuses(self, backend: str, client: str) -> bool:
        """Asked at the very instant of each effect: so what was accepted before has landed, or never will."""
        return (backend, client) in self._refused

    async def refuse(self, backend: str, client: str) -> bool:
        """From now on. True, as it cannot fail by itself."""
        self._refused.add((backend, client))
        self._on_refuse(backend, client)
        return True


@dataclass(frozen=True)
class Client:
    """One incarnation as the storage of one backend knows it."""

    name: str
    backend: str
    process: Process
    refusals: Refusals
    faults: Faults

    async def refuse(self, other: str) -> None:
        """Ask the storage to refuse another client. Raises BackendFailed."""
        if self.faults.is_broken(self.backend):
            raise BackendFailed(f"Backend {self.backend} does not answer.")
        if not await self.faults.fence(self.process, lambda: self.refusals.refuse(self.backend, other)):
            raise BackendFailed(f"Backend {self.backend} does not say that it refuses {other}.")


class _Refusing(FileDriver):
    """A driver whose storage knows its clients, and refuses those that it is asked to refuse."""

    _client: Client

    @classmethod
    def known_as(cls, client: Client, *args: Any, **options: Any) -> Self:
        """The driver of one client; the rest as for the driver without."""
        made = cls(*args, **options)
        made._client = client
        made._capabilities = replace(made._capabilities, fence=FenceScope.STORAGE)
        return made

    def identity(self) -> Mapping[str, str]:
        return {CLIENT: self._client.name}

    async def fence(self, identity: Mapping[str, str]) -> None:
        await self._client.refuse(identity[CLIENT])


class RefusingFileDriver(_Refusing):
    """The file driver on such a storage."""


class RefusingArrayDriver(_Refusing, ReplicatingDriver):
    """The same for an array that replicates: whom it refuses, it refuses on both sides."""
