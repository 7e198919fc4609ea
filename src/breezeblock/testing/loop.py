"""An event loop without a clock, a selector or chance of its own: a whole cluster in it replays from one seed.

Time jumps to the next timer whenever nothing is ready, and what is ready runs in an order drawn from the seed. Each handle
belongs to the simulated process in whose context it was scheduled; tasks hand their process on to what they start. So a
crash needs no help from the code that crashes: handles of a dead process are dropped, at whichever `await` it was, and no
`finally` of it ever runs. A stopped process keeps its handles until it is continued.
"""

import asyncio
import heapq
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

__all__ = ["PROCESS", "Deadlock", "Endless", "Machine", "Process", "Stopped", "VirtualLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A run takes some ten thousand steps; one that takes more spins.
STEPS_MOST: Final = 2_000_000
# A coroutine that answers its closing by waiting again is asked this often and then left alone.
CLOSES_MOST: Final = 20
WAITING_SHOWN: Final = 40


@dataclass(eq=False)
class Machine:
    """What boots as one: whatever runs on it, and its calls that are under way, end with the boot."""

    name: str
    boot_id: str


@dataclass(eq=False)
class Process:
    """One simulated process. `stopped_until` is the loop's time at which a stopped one goes on."""

    name: str
    alive: bool = True
    stopped_until: float = float("-inf")
    on_exit: list[Callable[[], None]] = field(default_factory=list)
    on_term: Callable[[], None] | None = None
    """What SIGTERM does, where a process has a way to leave in good order."""
    set_clock: Callable[[float], None] = lambda seconds: None
    """Sets the wall clock of its machine forwards or backwards."""
    machine: Machine | None = None
    incarnation: str | None = None
    """Of a node's processes: which incarnation they are."""
    works: bool = False
    """Whether it is the worker of that incarnation, which claims; its keeper does not."""
    impeded_until: float = float("-inf")
    """Until when anything last kept this very process from what it does: it was cut off, slow, or lost an answer."""

    def impede(self, seconds: float = 0.0) -> None:
        """Note that something keeps it from what it does, so long from now. It may have several calls under way."""
        self.impeded_until = max(self.impeded_until, asyncio.get_running_loop().time() + seconds)

    def kill(self) -> None:
        """As kill -9: nothing of it runs any more. Whoever watches it is told."""
        if self.alive:
            self.alive = False
            for told in self.on_exit:
                told()


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Deadlock(Exception):
    """Nothing is ready and no timer is set, but the main task has not ended."""


class Endless(Exception):
    """More steps than any run may take."""


class Stopped(Exception):
    """The loop was stopped before its main task had ended."""


class _Future(asyncio.Future[Any]):
    """A future whose place in a set does not depend on its address."""

    def __init__(self, *, loop: "VirtualLoop") -> None:
        self._number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    """The same for a task: code that walks a set of tasks does so in the same order in each run."""

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: "VirtualLoop", name: str | None, context: Context | None
    ) -> None:
        self._number = loop.next_number()
        super().__init__(coro, loop=loop, name=name or f"task-{self._number}", context=context)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's tasks, futures and timeouts need."""

    def __init__(self, random: Random, *, start_s: float = 1_000.0, steps_most: int = STEPS_MOST) -> None:
        self._random = random
        self._now = start_s
        self._ready: list[tuple[asyncio.Handle, Process | None]] = []
        self._timers: list[tuple[float, int, asyncio.Handle, Process | None]] = []
        self._numbers = 0
        self._steps_left = steps_most
        self._tasks: dict[_Task, None] = {}
        self._closed = False
        self._stopped = False
        self.complaints: list[str] = []
        """What no task looked at: exceptions in callbacks, and those of tasks that nobody awaited."""

    # --- what asyncio asks of a loop --------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def next_number(self) -> int:
        """The next in a row of numbers that is the same in each run."""
        self._numbers += 1
        return self._numbers

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append((handle, context.get(PROCESS)))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._closed:
            heapq.heappush(self._timers, (when, self.next_number(), handle, context.get(PROCESS)))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        self._require_open()
        return _Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        assert asyncio.iscoroutine(coro)
        if self._closed:
            coro.close()
        self._require_open()
        task = _Task(coro, loop=self, name=name, context=context)
        # Kept until it has ended: a dead process's task that was collected would run its `finally` blocks.
        self._tasks[task] = None
        task.add_done_callback(self._forget, context=Context())
        return task

    def _require_open(self) -> None:
        """Whoever is let go and would wait for something in a `finally` is let go there as well."""
        if self._closed:
            raise GeneratorExit

    def get_debug(self) -> bool:
        """Asked by every future and handle that begins, also by those that `asyncio.gather` makes without asking for one."""
        self._require_open()
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            error = context.get("exception")
            self.complaints.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is dropped when its time comes

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended, and then let everything else go without running any of it. Raises Stopped."""
        asyncio._set_running_loop(self)
        # Generators that a dead process has left are not finished by anybody.
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=lambda generator: None)
        try:
            task = self.create_task(main, name="main")
            while not task.done():
                if self._stopped:
                    raise Stopped
                self._step()
            return task.result()
        finally:
            self._let_go()
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)

    def stop(self) -> None:
        """After this step run nothing any more."""
        self._stopped = True

    def _step(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Endless(f"at {self._now:.3f} s of virtual time\n" + "\n".join(self.waiting()))
        ready = self._ready
        if not ready:
            self._jump()
        chosen = int(self._random.random() * len(ready))
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        handle, process = ready.pop()
        if handle.cancelled():
            return
        if process is not None:
            if not process.alive:
                return
            if process.stopped_until > self._now:
                heapq.heappush(self._timers, (process.stopped_until, self.next_number(), handle, process))
                return
        handle._run()

    def _jump(self) -> None:
        if not self._timers:
            raise Deadlock("nothing is ready and no timer is set; waiting:\n" + "\n".join(self.waiting()))
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            _, _, handle, process = heapq.heappop(self._timers)
            self._ready.append((handle, process))

    def waiting(self) -> list[str]:
        """The tasks that have not ended, and where they are."""
        return [f"  {task.get_name()} at {_where(task.get_coro())}" for task in list(self._tasks)[:WAITING_SHOWN]]

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._tasks.pop(task, None)  # type: ignore[call-overload]

    def _let_go(self) -> None:
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # coroutines that a dead process never came to await
            while self._tasks:  # what is closed may begin tasks of its own, to end others
                task = next(iter(self._tasks))
                del self._tasks[task]
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())


def _close(coro: Any) -> None:
    """End a suspended coroutine. Its `finally` blocks run now, after everything was looked at, and reach nothing."""
    for _ in range(CLOSES_MOST):
        with suppress(BaseException):
            coro.close()
            return


def _where(coro: Any) -> str:
    """File and line of the innermost await."""
    at = "?"
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None:
            at = f"{frame.f_code.co_qualname} line {frame.f_lineno}"
        coro = getattr(coro, "cr_await", None)
    return at
