"""One simulation from its seed."""

import sys
from collections.abc import Callable, Collection, Container, Coroutine, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import select

from breezeblock.protocol.leases import Terms
from breezeblock.store import tables
from breezeblock.testing import group_asks
from breezeblock.testing.clients import Clients
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.contents import draw_places, mark, read_whole
from breezeblock.testing.database import Database, Seen
from breezeblock.testing.faults import Faults
from breezeblock.testing.fenced import FENCES, TRUST_SETTLE_S
from breezeblock.testing.history import Entry, History
from breezeblock.testing.invariants import Watcher, check_rest, is_quiet, unfinished
from breezeblock.testing.ledger import wrong_accounts
from breezeblock.testing.linear import EDITED, EDITED_OF_VOLUMES, State, state_of_row
from breezeblock.testing.loop import PROCESS, Deadlock, Endless, Process, Stopped, VirtualLoop
from breezeblock.testing.memory_files import Tokens
from breezeblock.testing.needed import Needed, at_once
from breezeblock.testing.nemesis import Nemesis
from breezeblock.testing.orders import prepare
from breezeblock.testing.themes import THEMES, draw_theme
from breezeblock.testing.tidied import check_backups, next_due
from breezeblock.testing.virtual import EPOCH_US, VirtualClock

__all__ = ["Failed", "Report", "simulate", "takes_locks"]

T = TypeVar("T")

TTL_S: Final = 3.0
DRIFT: Final = 0.05
# Once faults have stopped everything must have ended within this time: some ttl to notice the dead, their fence, a few
# postponed attempts, and the work itself.
SETTLE_S: Final = 240.0
# And for all that is garbage then to be gone: a few collections, each begun by the next upkeep.
COLLECTED_S: Final = 120.0
# How wrong the wall clocks of machines may be.
SKEW_S: Final = 60.0
# The share of runs whose storage makes drivers take locks.
LOCKING: Final = 0.15
# The share of runs that begin without faults, and for how long at most.
CALM: Final = 0.9
CALM_MOST_S: Final = 5.0
SHOWN: Final = 120
START_S: Final = 1_000.0  # where the loop's time begins
_POOLS: Final = "SELECT count(*) FROM pools"
_PUBLISH: Final = (
    *("create_volume", "create_snapshot", "revert_volume", "restore_backup", "create_from_backup"),
    *("create_group_snapshot", "create_group_from_source"),
)
_OBJECT: Final = (
    "SELECT object_name, pool_name FROM volumes WHERE id = ? AND object_name IS NOT NULL UNION ALL"
    " SELECT object_name, pool_name FROM snapshots WHERE id = ? AND object_name IS NOT NULL"
)
_GROUP: Final = (
    "SELECT status FROM volume_groups WHERE id = ? AND NOT tombstone"
    " UNION ALL SELECT status FROM group_snapshots WHERE id = ? AND NOT tombstone"
)
_NAMED: Final = (
    "SELECT 1 FROM volumes WHERE object_name = ? AND NOT tombstone"
    " UNION ALL SELECT 1 FROM snapshots WHERE object_name = ? AND NOT tombstone"
)
_STATES: Final = tuple(
    (names, f"SELECT {', '.join(names)} FROM {table} WHERE id = ? AND NOT tombstone")  # noqa: S608
    for table, names in (
        ("volumes", ("status", "size_gib", "volume_type_id", *EDITED, *EDITED_OF_VOLUMES)),
        ("snapshots", ("status", "size_gib", "volume_type_id", *EDITED)),
        ("backups", ("status", "size_gib", *EDITED)),
    )
)
_MOVES_ACCOUNTS: Final = ("volumes", "snapshots", "backups", "volume_groups", "charged", "ended")
_WRITABLE: Final = (
    "SELECT id, object_name, pool_name, size_gib FROM volumes WHERE status IN ('available', 'in-use')"
    " AND object_name IS NOT NULL"
    " AND id NOT IN (SELECT resource_id FROM operation_locks) ORDER BY id"
)


@dataclass(frozen=True)
class Report:
    """What one run did."""

    seed: int
    faults: frozenset[str]
    history: list[Entry]
    requests: int
    accepted: int
    ended: int
    virtual_s: float


class Failed(AssertionError):
    """A run in which an invariant fell. The text has the seed, the end of the history, and how to see it again."""

    def __init__(
        self, seed: int, violations: list[str], history: list[Entry], faults: frozenset[str], options: Mapping[str, Any]
    ) -> None:
        self.seed = seed
        self.faults = faults
        self.violations = violations
        self.history = history
        self.options = options
        """What `simulate` was called with, besides the seed and the database."""
        shown = "\n".join(map(str, history[-SHOWN:]))
        what = "\n".join(f"  {violation}" for violation in violations[:10])
        super().__init__(
            f"seed {seed}:\n{what}\nthe last lines of its history:\n{shown}\n"
            f"Replay: breezeblock sim --seed {seed}, or breezeblock.testing.run.simulate({seed})."
        )


def simulate(
    seed: int,
    *,
    database: Database | None = None,
    only: Collection[str] | None = None,
    fence: str | None = None,
    beyond_drift: str = "",
    theme: str | None = None,
    without: Container[int] = (),
    unasked: Container[int] = (),
    brief: bool = False,
) -> Report:
    """Run one seed. Raises Failed. A `database` can serve many runs.

    `only` overrides which faults are on, `fence` which kind of fence there is (`fenced.FENCES`; half of the seeds kill, half
    have a storage that refuses). `beyond_drift` (`cluster.BEYOND`) lets clocks run slower than the terms allow:
    then invariants may fall. `theme` overrides what requests are about (`themes.THEMES`; one seed of seven has one).
    `without` are numbers of faults, `unasked` numbers of requests, as the history has them: they are drawn and left out.
    `brief` ends a run with the first invariant that falls.
    """
    own = Database() if database is None else None
    try:
        options = {
            "only": only,
            "fence": fence,
            "beyond_drift": beyond_drift,
            "theme": theme,
            "without": without,
            "unasked": unasked,
            "brief": brief,
        }
        return _Run(seed, database or own or Database(), options).go()
    finally:
        if own is not None:
            own.close()


def takes_locks(seed: int) -> bool:
    """Whether the storage of a seed's run makes drivers take locks."""
    return Random(f"{seed} locks").random() < LOCKING


class _Run:
    """Everything of one run."""

    def __init__(self, seed: int, database: Database, options: Mapping[str, Any]) -> None:
        self._seed = seed
        self._options = options
        self._random = Random(f"{seed} cluster")
        self._ahead_s = 0.0
        self._loop = VirtualLoop(Random(f"{seed} loop"))  # type: ignore[abstract]  # all that tasks need of a loop
        self.tell = History(self._loop.time)
        self._faults = Faults.draw(Random(f"{seed} faults"), self.tell)
        self._faults.without = options["without"]
        if options["only"] is not None:
            self._faults.on = frozenset(options["only"])
        fence = options["fence"] or Random(f"{seed} fence").choice(FENCES)
        if fence == "trust":
            # A stopped process writes when it goes on, whatever its lease: nothing but a fence closes that window.
            # Nor does it wait for the lease of a node that an operator has declared lost.
            self._faults.on -= {"stop", "evict"}
            self._faults.late_most_s = TRUST_SETTLE_S * 0.9
        theme = THEMES[options["theme"]] if options["theme"] else draw_theme(Random(f"{seed} theme"))
        self._faults.store_paces_s = theme.store_pace_s
        self._on = self._faults.on
        self._database = database
        replicated = Random(f"{seed} database").random() < 0.5
        database.begin_run(now_us=lambda: EPOCH_US + int(self._loop.time() * 1_000_000), replicated=replicated)
        self._terms = Terms(ttl_s=TTL_S, drift=DRIFT)
        self._cluster = Cluster(
            loop=self._loop,
            database=database,
            faults=self._faults,
            random=self._random,
            terms=self._terms,
            tell=self.tell,
            mistake=lambda what: self._watcher.violated("Mistake", what),
            on_effect=self._on_effect,
            fence=fence,
            locks=takes_locks(seed),
            beyond_drift=options["beyond_drift"],
            theme=theme,
        )
        self._watcher = Watcher(self.tell, self._cluster, self._loop.time, is_there=self._is_there)
        self._let_it_watch()
        if options["brief"]:
            self._watcher.on_violation = self._loop.stop
        self._clients = Clients(
            self._cluster,
            self._watcher,
            requests=self._random.choice(theme.requests),
            pause_s=self._random.choice(theme.pauses_s),
            unasked=options["unasked"],
        )

    def _let_it_watch(self) -> None:
        """Whatever happens in the database and in the cluster is told to the watcher."""
        database, cluster, watcher = self._database, self._cluster, self._watcher
        database.on_commit, database.on_resume = self._committed, watcher.on_resume
        database.on_rollback = watcher.on_rollback
        cluster.on_fault = watcher.excuses.met_a_fault
        cluster.on_unleased = lambda what: watcher.violated("Lease", what)
        cluster.on_stale = lambda what: watcher.violated("Once", what)
        cluster.on_forced = watcher.rules.forced.add
        watcher.excuses.poison_limit = cluster.limits.poison_limit
        watcher.excuses.presence.park_after_s = cluster.limits.park_after_s / (1 + DRIFT)
        watcher.excuses.presence.began = START_S
        watcher.shelves.are_locked = cluster.locks_drivers
        cluster.safe.shelf.on_delete = Needed(database.raw, cluster.safe, watcher.violated).on_delete
        watcher.is_published, watcher.state_of = self._is_published, self._state_of

    def go(self) -> Report:
        """Run, check, report."""
        try:
            with _logs_into(self), self._watcher.transitions(), self._cluster.safe.collecting():
                self._loop.run(self._main())
        except Stopped:
            assert self._watcher.violations
        except (Deadlock, Endless) as error:
            self._watcher.violated("Termination", f"{type(error).__name__}: {error}")
        for complaint in self._loop.complaints:
            self._watcher.violated("Mistake", complaint)
        if self._watcher.violations:
            raise Failed(self._seed, self._watcher.violations, self.tell.entries, self._on, self._options)
        answers = [request.answer for request in self._clients.requests]
        with self._database.reading() as tx:
            ended = len(tx.execute(select(tables.operation_log.c.operation_id)).all())
        return Report(
            seed=self._seed,
            faults=self._on,
            history=self.tell.entries,
            requests=len(answers),
            accepted=answers.count("accepted"),
            ended=ended,
            virtual_s=self._loop.time(),
        )

    async def _main(self) -> None:
        kind = "serial" if self._database.journal is None else "replicated"
        faults = " ".join(sorted(self._on)) or "none"
        line = f"seed {self._seed}, about {self._cluster.theme.name}, faults {faults}, fence {self._cluster.fence}"
        line += f", database {kind}"
        self.tell(line, kind="run", faults=faults, fence=self._cluster.fence, database=kind)
        with self._database.transaction() as tx:
            prepare(tx, at_us=EPOCH_US)
            group_asks.prepare(tx, at_us=EPOCH_US)
        nodes = [f"node{number}" for number in range(self._random.choice((2, 3)))]
        if "upgrade" in self._on:
            self._cluster.begin_old(nodes)
        for name in nodes:
            self._spawn_supervised(name, self._cluster.start_node)
        for number in range(2):
            self._spawn_supervised(f"api{number}", self._clients.start_api)
        self._loop.create_task(self._guest(), name="guest")
        await self._begin_calmly()
        until = self._loop.time() + self._random.choice(self._cluster.theme.lasts_s)
        await Nemesis(self._faults, ttl_s=TTL_S, world=self._cluster).run(until)
        self._cluster.upgrade()
        self.tell("faults have stopped", kind="phase")
        self._clients.stopped = True
        await self._settle()

    async def _begin_calmly(self) -> None:
        """Mostly nothing goes wrong until all backends have reported: else little is accepted in many runs."""
        if self._random.random() < CALM:
            self._faults.on = frozenset()
            give_up_at = self._loop.time() + CALM_MOST_S
            while self._loop.time() < give_up_at:
                (reported,) = self._database.raw.execute(_POOLS).fetchone()
                if reported == len(self._cluster.backends):
                    break
                await VirtualClock().sleep(0.05)
            self._faults.on = self._on

    def _spawn_supervised(self, name: str, start: Callable[..., Any]) -> None:
        self._loop.create_task(self._cluster.supervise(name, start), name=f"{name}.supervisor")

    async def _settle(self) -> None:
        give_up_at = self._loop.time() + SETTLE_S
        await VirtualClock().sleep(5.0)  # requests that were under way are answered or given up meanwhile, mostly
        for _ in range(2):  # a failover that was under way may have failed meanwhile
            self._put_right()
            while self._loop.time() < give_up_at:
                with self._database.reading() as tx:
                    if is_quiet(tx):
                        break
                await VirtualClock().sleep(0.5)
        await self._collect()
        self._put_right()
        while self._loop.time() < give_up_at:
            with self._database.reading() as tx:
                # A node that was lost at the end of the faults may be found only while what is left is told.
                if self._cluster.mail.is_quiet(tx) and is_quiet(tx):
                    break
            await VirtualClock().sleep(0.5)
        self.tell("settled" if self._loop.time() < give_up_at else "never settled", kind="phase")
        with self._database.reading() as tx:
            for what in unfinished(tx):
                self._watcher.violated("Termination", what)
            if not self._watcher.violations:
                self._clients.check(tx)
                await check_rest(tx, self._watcher, self._cluster)
                await check_backups(tx, self._watcher, self._cluster)
                for what in self._cluster.mail.check():
                    self._watcher.violated("Told", what)

    async def _collect(self) -> None:
        """Until nothing is due any more, of archives and of leavings: all clocks are put forward to when the next one is."""
        give_up_at = self._loop.time() + COLLECTED_S
        while self._loop.time() < give_up_at:
            with self._database.reading() as tx:
                due_us, quiet = next_due(tx), is_quiet(tx)
            # Who waits for an answer would find that what it has done is long forgotten.
            quiet = quiet and not self._clients.is_asking()
            if due_us is None and quiet:
                return
            if (
                due_us is not None
                and quiet
                and (ahead_s := (due_us - VirtualClock().now_us()) / 1e6 + SKEW_S) > self._ahead_s
            ):
                self.tell(f"all clocks are put forward by {ahead_s - self._ahead_s:.0f} s", kind="phase")
                self._cluster.put_clocks_forward(ahead_s - self._ahead_s)
                self._ahead_s = ahead_s
            await VirtualClock().sleep(0.5)
        self._watcher.violated("Termination", "archives are looked through, or leavings removed, for ever")

    def _put_right(self) -> None:
        with self._database.transaction() as tx:
            self._clients.put_right(tx)

    async def _guest(self) -> None:
        """Attached volumes are written to past us, whenever nothing is under way on them: *Data* follows what was written."""
        number = 0
        while True:
            await VirtualClock().sleep(self._random.expovariate(1 / self._cluster.theme.guest_pause_s))
            rows = self._database.raw.execute(_WRITABLE).fetchall()
            if rows:
                id_, object_name, pool, size_gib = self._random.choice(rows)
                path = self._cluster.root(pool) / id_[:2] / object_name
                places = draw_places(self._random, size_gib=size_gib)
                if _at_once(self._cluster.disk.size(path)) is None:
                    continue  # a deletion failed half-way, and an operator calls it available: nobody has that attached
                number += 1
                for place in places:
                    data = mark(number, id_, place)
                    await self._cluster.write_past(pool, path, place, data)
                    self._watcher.contents.wrote(id_, place, data)
                self.tell(f"guest writes {number} to {object_name}, at {places}", kind="guest", name=object_name)

    def _committed(self, seen: list[Seen], writer: Process | None) -> None:
        """*Data*: what an operation has just published holds what it must, before anybody writes to it again."""
        self._watcher.on_commit(seen, writer)
        self._cluster.mail.committed(seen, writer)
        saved = any(what in ("saved", "closed") for what, *_ in seen)
        if saved and writer is not None and writer.alive and self._faults.crashes_after_save(writer):
            writer.kill()
        if any(what in _MOVES_ACCOUNTS for what, *_ in seen) and not self._watcher.violations:
            for problem in wrong_accounts(self._database.raw):
                self._watcher.violated("Accounts", problem)
        for what, id_, _, after in seen:
            if what == "ended" and after in _PUBLISH:
                self._compare(id_, str(after))

    def _compare(self, operation: str, kind: str) -> None:
        """The objects of what an operation held exclusively, whole, with what they may hold."""
        for resource, path in self._published(operation):
            found = _at_once(read_whole(self._cluster.disk, path))
            if found is not None and (problem := self._watcher.contents.judge(resource, found)) is not None:
                self._watcher.violated("Data", f"{kind} left {path.name}, which {problem}")

    def _state_of(self, resource: str) -> State | None:
        for names, query in _STATES:
            row = self._database.raw.execute(query, (resource,)).fetchone()
            if row is not None:
                return state_of_row(dict(zip(names, row, strict=True)))
        group = self._database.raw.execute(_GROUP, (resource, resource)).fetchone()
        return None if group is None else State(status=group[0])

    def _is_published(self, object_name: str) -> bool:
        return bool(self._database.raw.execute(_NAMED, (object_name, object_name)).fetchall())

    def _is_there(self, resource: str) -> bool:
        """Whether the object that a resource's row names is on storage."""
        if self._database.raw.execute(_GROUP, (resource, resource)).fetchall():
            return True  # its row is all of it
        rows = self._database.raw.execute(_OBJECT, (resource, resource)).fetchall()
        paths = [self._cluster.root(pool) / resource[:2] / name for name, pool in rows]
        return any(_at_once(self._cluster.disk.size(path)) is not None for path in paths)

    def _published(self, operation: str) -> list[tuple[str, PurePosixPath]]:
        watcher, found = self._watcher, []
        for resource, seq in watcher.resources_of.get(operation, {}).items():
            if watcher.exclusive[resource, seq] and watcher.contents.knows(resource):
                for name, pool in self._database.raw.execute(_OBJECT, (resource, resource)).fetchall():
                    found.append((resource, self._cluster.root(pool) / resource[:2] / name))
        return found

    def _on_effect(self, process: Process, call: str, path: PurePosixPath, tokens: Tokens) -> None:
        self._watcher.on_effect(process, call, path, tokens)

    def logged(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """A line of the services' own log."""
        if self._loop.is_closed():
            return  # of what still ran at the end, and is let go
        process = PROCESS.get()
        shown = " ".join(f"{name}={value}" for name, value in sorted(fields.items()) if name != "exc_info")
        self.tell(f"{process.name if process else '-'} log {event} {shown}", kind="log", event=event)
        if fields.get("exc_info"):
            error = sys.exc_info()[1]
            self._watcher.violated("Mistake", f"{event}: {type(error).__name__}: {error}")


def _at_once(reading: Coroutine[Any, Any, T]) -> T | None:
    """What a coroutine that waits for nothing returns. None where there is no such file."""
    try:
        return at_once(reading)
    except FileNotFoundError:
        return None


@contextmanager
def _logs_into(run: _Run) -> Any:
    """While inside, log lines become lines of the history."""

    def take(logger: object, level: str, fields: Any) -> Any:
        run.logged(level, str(fields.pop("event", "")), dict(fields))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
