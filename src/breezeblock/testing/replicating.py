"""A storage array that replicates, and the driver for it: the file driver on two folders of one simulated disk.

    array = Array(disk, primary=PurePosixPath("/array/a"), secondary=PurePosixPath("/array/b"))
    driver = ReplicatingDriver(env.files, array=array, name="fast", clock=clock, ids=ids)     # on each node, with its own view

While the configured backend (`default`) is active, every effect on a replicated resource is there on the secondary in the
moment in which it lands. Only the active side takes effects: what arrives for the other one is refused, however late, as
arrays do it; also when that side has come back to use meanwhile. `fail` makes a side's calls fail, `hang` makes them wait;
`repair` ends both, and what hung goes on. `replicates` says which resources (by id) are mirrored; of the others the secondary
knows nothing.

`array.root` is where the active side's objects are, for checks of the storage.
"""

import asyncio
import copy
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final, TypeVar

from breezeblock.drivers.contract import Driver
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Clock, Files, Guard, Ids
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import is_canonical_uuid
from breezeblock.testing.memory_files import Change, MemoryFiles, Tokens, _error, _File, _Folder

__all__ = ["DEFAULT", "SECONDARY", "Array", "ReplicatingDriver"]

T = TypeVar("T")
DEFAULT: Final = "default"
SECONDARY: Final = "secondary"


class Array:
    """What the storage itself knows, whichever node asks. The folders are made here; their parents must be there."""

    def __init__(
        self,
        disk: MemoryFiles,
        *,
        primary: PurePosixPath,
        secondary: PurePosixPath,
        replicates: Callable[[str], bool] = lambda resource_id: True,
    ) -> None:
        self.on_fault: Callable[[], None] = lambda: None
        """Called when a call fails by a fault of the array, in the context of the caller."""
        self.is_astray: Callable[[], bool] = lambda: False
        """Whether the service takes another side for the one in use, because a failover failed when it was done already."""
        self.active = DEFAULT
        self.roots = {DEFAULT: primary, SECONDARY: secondary}
        self._replicates = replicates
        self._disk = disk._disk
        self._failed: set[str] = set()
        self._sessions = dict.fromkeys(self.roots, 0)
        self._asked = 0
        self._switched = 0
        self._answers = {target: asyncio.Event() for target in self.roots}
        for target, root in self.roots.items():
            self._answers[target].set()
            for folder in (*reversed(root.parents[:-1]), root):
                self._disk.folder(folder.parent).entries.setdefault(folder.name, _Folder())
                self._disk.folder(folder.parent).sync()

    @property
    def root(self) -> PurePosixPath:
        """Where the objects of the side in use are."""
        return self.roots[self.active]

    def fail(self, target: str) -> None:
        """From now on this side's calls fail."""
        self._failed.add(target)

    def hang(self, target: str) -> None:
        """From now on this side's calls wait."""
        self._answers[target].clear()

    def repair(self, target: str) -> None:
        """It answers again, also those who have waited; the secondary catches up with what it has missed."""
        self._failed.discard(target)
        self._answers[target].set()
        if (target, self.active) == (SECONDARY, DEFAULT):
            self._catch_up(DEFAULT, SECONDARY)

    # What the files below ask and do.

    async def reach(self, path: PurePosixPath) -> None:
        """Wait while the side of a path hangs; raises OSError when it has failed."""
        if (target := self._target_of(path)) is not None:
            await self._answers[target].wait()
            self.require(path)

    def require(self, path: PurePosixPath, *, active: bool = False) -> None:
        """Raise OSError unless the side of a path answers, and is the one in use if that matters."""
        target = self._target_of(path)
        if target is not None and target in self._failed:
            raise _error(errno.EIO, path)
        if active and target is not None and target != self.active:
            raise _error(errno.EROFS, path)

    def mirror(self, path: PurePosixPath) -> None:
        """Bring the secondary up to what has just landed on the primary: in the folder of `path`, the whole resource."""
        primary, secondary = self.roots[DEFAULT], self.roots[SECONDARY]
        if self.active != DEFAULT or SECONDARY in self._failed or not path.is_relative_to(primary) or path == primary:
            return
        if self._disk.find(path.parent) is not None:
            self._copy(path.parent, secondary / path.parent.relative_to(primary), only=path.name.partition(".")[0])

    def begin_failover(self) -> int:
        """The number of a failover, in the order in which they were asked for."""
        self._asked += 1
        return self._asked

    def bring_back(self, target: str, *, number: int) -> None:
        """Before the configured backend is active again: what was written to replicated resources meanwhile."""
        self._refuse_the_late(target, number)
        if target != DEFAULT or self.active == DEFAULT:
            return
        self.require(self.roots[SECONDARY])
        self._catch_up(SECONDARY, DEFAULT)

    def switch(self, target: str, *, number: int) -> None:
        """From now on this side takes effects, and the other one none.

        Going back, what was written since `bring_back` comes along: attached volumes are written to all the time, and an array
        holds their writes for the moment of the switch.

        Sessions of before are over: a call that hung through a failover does not land when its side comes back to use.
        """
        self._refuse_the_late(target, number)
        if target == DEFAULT and self.active != DEFAULT:
            self._catch_up(SECONDARY, DEFAULT)
        self._switched = number
        self.active = target
        self._sessions[target] += 1

    def _refuse_the_late(self, target: str, number: int) -> None:
        """A failover that hung until a later one was done would take the storage from under those who work there."""
        if number < self._switched:
            raise _error(errno.ESTALE, self.roots[target])

    def session(self, path: PurePosixPath) -> int:
        """The session in which a call begins."""
        target = self._target_of(path)
        return 0 if target is None else self._sessions[target]

    def _catch_up(self, leader: str, follower: str) -> None:
        source, target = self.roots[leader], self.roots[follower]
        self._copy(source, target)
        for name, node in self._disk.folder(source).entries.items():
            if isinstance(node, _Folder):
                self._copy(source / name, target / name)

    def _copy(self, source: PurePosixPath, target: PurePosixPath, *, only: str = "") -> None:
        """Make the replicated entries of one folder those of another one; `only` those of one resource."""
        entries, copies = self._disk.folder(source).entries, self._disk.folder(target).entries
        for name in sorted(entries.keys() | copies.keys()):
            if only not in ("", name.partition(".")[0]) or not self._mirrors(name):
                continue
            node = entries.get(name)
            if isinstance(node, _File):
                copies[name] = replace(node, blocks=dict(node.blocks), shared=set(node.shared))
                copies[name].sync()
            elif node is not None:
                copies.setdefault(name, _Folder())
            else:
                copies.pop(name, None)
        self._disk.folder(target).sync()

    def _mirrors(self, name: str) -> bool:
        resource_id = name.partition(".")[0]
        return not is_canonical_uuid(resource_id) or self._replicates(resource_id)

    def _target_of(self, path: PurePosixPath) -> str | None:
        return next((target for target, root in self.roots.items() if path.is_relative_to(root)), None)


class _ArrayFiles(MemoryFiles):
    """A view of the disk through the array, with all that the view is hooked to."""

    _array: Array

    @classmethod
    def over(cls, files: MemoryFiles, array: Array) -> "_ArrayFiles":
        made = cls.__new__(cls)
        made.__dict__.update(files.__dict__)
        made._array = array
        stalled = files._stalled

        async def reach(call: str, path: PurePosixPath, mutating: bool) -> None:
            if stalled is not None:
                await stalled(call, path, mutating)  # first: that looks at the lease as it is when the call begins
            await array.reach(path)

        # Between the guard's yes and the effect: there a call hangs that the storage does not answer.
        made._stalled = reach
        return made

    def guarded(self, guard: Guard) -> Files:
        bound = copy.copy(self)
        bound._guard = guard
        return bound

    async def fail_over(self, target: str) -> None:
        root, number = self._array.roots[target], self._array.begin_failover()
        await self._change("failover", root, lambda _: self._array.bring_back(target, number=number))
        await self._change("failover", root, lambda _: self._array.switch(target, number=number))

    def _left(self, path: PurePosixPath) -> None:
        self._array.mirror(path)

    async def _before_call(self, call: str, path: PurePosixPath, mutating: bool) -> None:
        await super()._before_call(call, path, mutating)
        if not mutating:
            with self._telling():
                await self._array.reach(path)

    async def _change(self, call: str, path: PurePosixPath, change: Change[T]) -> T:
        session = self._array.session(path)

        def in_session(share: float) -> T:
            if call != "failover" and session != self._array.session(path):
                raise _error(errno.ESTALE, path)
            return change(share)

        with self._telling():
            return await super()._change(call, path, in_session)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Other errors mean that the call came to a side that is not in use: a fault only if nobody can know which is."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EIO or (error.errno in (errno.EROFS, errno.ESTALE) and self._array.is_astray()):
                self._array.on_fault()
            raise

    def _land(self, call: str, path: PurePosixPath, change: Change[T], tokens: Tokens, share: float) -> T:
        self._array.require(path, active=call != "failover")
        result = super()._land(call, path, change, tokens, share)
        self._array.mirror(path)
        return result


class ReplicatingDriver(FileDriver):
    """The file driver on one side of an array, with one replication target: `secondary`."""

    def __init__(
        self,
        files: MemoryFiles,
        *,
        array: Array,
        name: str,
        clock: Clock,
        ids: Ids,
        copy_rate_limit_bytes_per_s: int = 0,
        trusted_shared: bool = False,
        may_initialise: bool = True,
    ) -> None:
        super().__init__(
            _ArrayFiles.over(files, array),
            name=name,
            path=array.roots[DEFAULT],
            clock=clock,
            ids=ids,
            copy_rate_limit_bytes_per_s=copy_rate_limit_bytes_per_s,
            trusted_shared=trusted_shared,
            may_initialise=may_initialise,
        )
        self._array = array
        self._capabilities = replace(self._capabilities, replication=(SECONDARY,), storage_protocol="array")

    def on(self, target: str) -> Driver:
        if target not in self._array.roots:
            raise BackendFailed(f"Backend {self._name} has no replication target {target}.")
        other = copy.copy(self)
        other._root = self._array.roots[target]
        other._folders = set()
        return other

    async def failover(self, target: str) -> None:
        self.on(target)
        files = self._files
        assert isinstance(files, _ArrayFiles), "made by the constructor"
        async with self._explained("failover"):
            await files.fail_over(target)
