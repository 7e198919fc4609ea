"""The contract between Breezeblock and a storage driver.

A driver knows storage and nothing else: no database, no other node, no clock but the one it is given. What it may rely
on and what it must promise:

* **Names are given.** An object is named `<resource id>.<seq>.<epoch>` (`ObjectName`). The token in the name says under
  which lock and which claim it was made, so a late effect of an earlier owner never hits a newer object. A driver
  derives all its own names (temporary files, internal snapshots) from the name it was given.
* **Every call is safe to repeat**, after success, after failure, and after a crash anywhere inside it. Creating what is
  there, deleting what is not there, and extending to a smaller size succeed and change nothing.
* **Whole or absent.** An object that `exists` under its name is complete. What is half made has another name.
* **Durable before done.** When a call returns, its effect survives a power cut.
* **Long work reports progress.** Calls that copy take a `Progress`: they start at `progress.done_bytes`, call
  `await progress.save(n)` from time to time *after* syncing what it covers, and stop by letting its exceptions pass.
* **Errors for users.** Whatever the storage refuses becomes `BackendFailed` with a sentence an operator understands.
* **Guarded.** A driver makes changing calls only through the `Files` (or the equivalent for its storage) of `bind`, which
  asks for the lease right before each effect.
* **Locks are asked for.** Exclusion beyond one resource comes from `ctx.lock` only, and never protects data alone: tokens and
  fences do.
* **Told which target.** A driver with `replication` targets remembers none: it works on the one that `on` has chosen, or on
  the configured backend. Calls for a target that was left may still arrive there, late; they must never reach another one.
"""

import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from breezeblock.env.contract import Guard


class FenceScope(enum.Enum):
    """How a backend makes sure that a lost node writes no more."""

    NONE = "none"
    """Nothing but the node's own lease: `trust_self_fencing` must be set, and half-made copies are never continued."""
    SAME_MACHINE = "same_machine"
    """All nodes run on one machine: killing the old node's processes is proof."""
    STORAGE = "storage"
    """The storage itself can refuse a client."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do, as data. `extra` is matched against the extra specs of volume types."""

    fence: FenceScope
    snapshots: bool = True
    clone: bool = True
    revert: bool = True
    online_extend: bool = False
    multiattach: bool = False
    """Whether several hosts may use one object at the same time."""
    thin: bool = True
    settle_s: float = 0.0
    storage_protocol: str = ""
    vendor_name: str = "Breezeblock"
    replication: tuple[str, ...] = ()
    """The targets that `failover` takes, besides `default`; none where there is no replication. Without blanks in them."""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """The name of one object on storage: which resource, and under which token it was made."""

    resource_id: str
    seq: int
    epoch: int

    def __str__(self) -> str:
        return f"{self.resource_id}.{self.seq}.{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> "ObjectName":
        """The name back from its text. ValueError when it is none."""
        resource_id, seq, epoch = text.rsplit(".", 2)
        return cls(resource_id, int(seq), int(epoch))


@dataclass(frozen=True, slots=True)
class Link:
    """One object together with the size it has, in bytes."""

    name: ObjectName
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What a pool says of itself. Sizes in bytes; `driver_version` and the like go into `capabilities`."""

    name: str
    total_bytes: int
    free_bytes: int
    capabilities: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manageable:
    """Something on a backend's storage that is no object of ours, and could become one."""

    reference: str
    """The storage's own name for it, which `adopt` takes."""
    size_bytes: int
    is_snapshot: bool = False
    why_not: str | None = None
    """Why it cannot be adopted as it is, for the operator; None when it can."""


class Progress(Protocol):
    """How far a long call got, kept across crashes."""

    @property
    def done_bytes(self) -> int:
        """Everything before this offset is done and durable."""
        ...

    async def save(self, done_bytes: int) -> None:
        """Record progress. May raise Fenced or Cancelled: let them pass, at once."""
        ...


# The content of an object from an offset on, as (offset, bytes) in order; what is left out reads as zeros. Whoever takes them
# closes the generator.
Pieces = Callable[[int], AsyncGenerator[tuple[int, bytes], None]]


class Context(Guard, Protocol):
    """What a driver is given for one running operation: the guard of its effects, and locks.

    One object, because a lock that was lost closes the guard. A driver that needs no lock may ask for the `Guard` alone.
    """

    def lock(self, *names: str, shared: bool = False) -> AbstractAsyncContextManager[None]:
        """Hold these names, all of them at once, for `async with`; `shared` excludes only those who do not share.

        Who else is excluded is the backend's configuration: everybody who locks the same name in the same scope, on this
        machine or in the cluster. Names may be anything. All that are needed at a time go into one call: within a lock the
        same task must not ask for another, since two that do so may wait for each other without end.

        Raises Fenced when the operation is not ours any more, or the lock was lost while it was held; BackendFailed when the
        service that keeps the locks cannot be reached for long. Let them pass.
        """
        ...


class Driver(Protocol):
    """The calls. Sizes are in bytes. All raise BackendFailed; none raises for a repeat."""

    @property
    def capabilities(self) -> Capabilities: ...

    def bind(self, ctx: Context) -> "Driver":
        """The same driver for one running operation: every change it makes asks `ctx`, which is a `Guard`, first."""
        ...

    def identity(self) -> Mapping[str, str]:
        """What the storage knows this incarnation by: a client address and nonce, a reservation key and the like.

        Recorded before any other call, and given to `fence` when the incarnation is lost. It must be this incarnation's own and
        never come again. A driver whose storage knows only the host has the host here, under the key `host`; one whose
        storage knows nobody, nothing. The keys `machine` and `targets` are taken.
        """
        ...

    async def fence(self, identity: Mapping[str, str]) -> None:
        """Make the storage refuse a lost incarnation, from when this returns until for ever; BackendFailed if it cannot.

        What the storage had accepted from it before has landed when this returns, or never will. Asked of drivers whose
        `capabilities.fence` is STORAGE, on any node, with nothing but what `identity` said there; may be repeated.
        """
        ...

    async def check(self, *, known: bool) -> None:
        """Make sure that the storage is there and ours, and refuse what is foreign.

        Only when the backend was never seen before (`known` is False) may anything that is missing be made: a known
        backend that looks empty is one whose filesystem is not mounted.
        """
        ...

    async def take_name(self, before: str) -> None:
        """The backend was called `before`, and is called otherwise from now on: what tells so on its storage is changed.

        Nobody else uses it meanwhile. A repeat changes nothing; what is foreign is refused, as by `check`.
        """
        ...

    async def report(self) -> tuple[PoolReport, ...]:
        """The backend's pools and their capacity now."""
        ...

    async def create(self, name: ObjectName, *, size_bytes: int) -> None:
        """Make an empty volume that reads as zeros."""
        ...

    async def copy(self, source: ObjectName, target: ObjectName, *, size_bytes: int, progress: Progress) -> None:
        """Make `target` a full, independent copy of `source`, at least `size_bytes` long (zeros after the source's end).

        Serves snapshots, volumes from snapshots, clones and reverts. `progress` belongs to this very `target`.
        """
        ...

    async def read(self, name: ObjectName, *, offset: int, length: int) -> bytes:
        """Exactly these bytes of an object, fewer at its end."""
        ...

    async def next_data(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        """The first run of what may hold data at or after `offset` as (start, end); None when only zeros follow."""
        ...

    async def keep(self, source: ObjectName, target: ObjectName) -> bool:
        """Keep what `source` is now as `target`, at once, in no more space than what will change; an object as any other.

        False, and nothing is there, where that cannot be done, or `changes` could not use it. It is asked for before a backup,
        which is then read from `target`; and `target` stays until the next one.
        """
        ...

    async def changes(
        self, name: ObjectName, *, since: ObjectName, offset: int, length: int
    ) -> Sequence[tuple[int, int]] | None:
        """What of these bytes of `name` may differ from those of `since`, as (start, end), in order and apart.

        Holes that were data are among it. None when nobody can tell, also when `since` is not there (any more). Neither of
        both is written to meanwhile.
        """
        ...

    async def fill(self, target: ObjectName, *, size_bytes: int, pieces: Pieces, progress: Progress) -> None:
        """Make `target`, that long, from pieces; `pieces(start)` begins at an offset. `progress` belongs to this `target`.

        What `pieces` raises passes through, and a repeat goes on from the saved progress.
        """
        ...

    async def extend(self, name: ObjectName, *, size_bytes: int) -> None:
        """Make an object at least `size_bytes` long by a call that cannot shrink it."""
        ...

    async def connect(
        self, name: ObjectName, access: ObjectName, *, connector: Mapping[str, Any], mode: str
    ) -> Mapping[str, Any]:
        """Let a host reach an object, and say how: `driver_volume_type` and `data`, as os-brick has them.

        `access` names what is made for it, by an attachment's id; `connector` is what the host says of itself; `mode` is rw or
        ro. The same call again gives the same access. Other accesses to the object stay as they are, and so does the object.
        """
        ...

    async def disconnect(self, access: ObjectName) -> None:
        """Take an access back, and all that is half made of it. One that is not there is fine."""
        ...

    async def accesses(self, attachment_id: str | None = None) -> tuple[ObjectName, ...]:
        """All accesses that were given for an attachment, half-made ones included, in order of their tokens; None: for any."""
        ...

    async def reached_by(self, access: ObjectName) -> tuple[ObjectName, str | None] | None:
        """The object that an access is to, and the host it was given to; None where the storage does not say. For repairs."""
        ...

    async def delete(self, name: ObjectName) -> None:
        """Remove an object and everything half made under its name."""
        ...

    async def exists(self, name: ObjectName) -> bool:
        """Whether the whole object is there."""
        ...

    async def length_of(self, name: ObjectName) -> int | None:
        """How long the whole object is; None when it is not there. For checks and repairs."""
        ...

    async def names_of(self, resource_id: str) -> tuple[ObjectName, ...]:
        """All objects of one resource, half-made ones included, in order of their tokens."""
        ...

    async def every_name(self) -> tuple[ObjectName, ...]:
        """All objects on this backend, for checks. May be slow."""
        ...

    async def manageable(self) -> tuple[Manageable, ...]:
        """What is on this backend and could be adopted. BackendFailed where the storage has nothing of that kind."""
        ...

    async def adopt(self, reference: str, name: ObjectName) -> int:
        """Make what the storage calls `reference` the object `name`, at once and without a copy. Returns its length.

        `reference` is what a user wrote, and is checked here: it never reaches anything but what `manageable` tells of. When
        the object is there already, that is all. BackendFailed when there is neither, and for what cannot be adopted, which
        is left as it was. A crash leaves it adopted or not.
        """
        ...

    async def release(self, name: ObjectName, reference: str) -> None:
        """Let an object be no object of ours any more: it is what `manageable` calls `reference`. Nothing of it is lost.

        One that is not there is released already. BackendFailed when something else has that reference: it stays ours.
        """
        ...

    def on(self, target: str) -> "Driver":
        """The same driver working on a replication target, or on the configured backend (`default`). No I/O.

        Raises BackendFailed when there is no such target (any more).
        """
        ...

    async def failover(self, target: str) -> None:
        """Make a target (or `default`: the configured backend again) the one that storage is served from.

        Idempotent, and whole or not at all as far as the storage can; a crash anywhere inside it is followed by a repeat,
        perhaps from another node. It must not need what is failed over from, and must come to an end when that is silent.
        For `default`, what was written to replicated objects meanwhile is brought back first. After ten minutes the failover
        counts as failed, and the next one may call for another target.

        When this returns, no call that began on that target before it can land there any more: one that hung through a
        failover must not wake up after the failback, when its operation has long been done by somebody else. The same holds
        for this call: one that hung until a later one was done must change nothing any more.
        """
        ...
