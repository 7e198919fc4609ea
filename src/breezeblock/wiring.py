"""The composition root: the one place that turns settings into concrete classes."""

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from breezeblock.api.auth import Authenticate, BelieveEveryone
from breezeblock.backup.contract import ObjectStore
from breezeblock.backup.engine import Shares
from breezeblock.backup.seal import MasterKeyError, master_key
from breezeblock.backup.shares import AT_ONCE
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.database_urls import sqlite_path
from breezeblock.doorbells.contract import Doorbell, Listener, OwnDoorbell, Tally
from breezeblock.doorbells.local import DatagramBell, DatagramListener
from breezeblock.doorbells.silent import SilentBell, SilentListener
from breezeblock.drivers.file import FileDriver
from breezeblock.env.byte_counts import ByteCounts
from breezeblock.env.commands import Commands
from breezeblock.env.contract import Env
from breezeblock.env.host_locks import HostLocks
from breezeblock.env.real import RealThreads
from breezeblock.events.contract import Receiver
from breezeblock.events.log import LogReceiver
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import Incarnation
from breezeblock.node.backends import Backend
from breezeblock.node.fence_agent import External
from breezeblock.node.fences import Boot, Fence, Fences, SameMachine, Storage, Trust
from breezeblock.node.locks import LockSpace
from breezeblock.node.locks_database import DatabaseLocks
from breezeblock.node.locks_local import LocalLocks
from breezeblock.node.sender import Outlet
from breezeblock.protocol import membership
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.queue import node_queue
from breezeblock.settings import Backend as BackendSettings
from breezeblock.settings import BackupStore as BackupStoreSettings
from breezeblock.settings import EventReceiver as EventReceiverSettings
from breezeblock.settings import Settings
from breezeblock.store.dialects import open_engine
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import REQUEST_PATIENCE_S, Store
from breezeblock.store.servers import Session
from breezeblock.work.archives import Archives, Shelf

# For the chaos harness and for authors of drivers, so not among the options: a folder in which each worker writes down its
# storage calls, and how many seconds each changing one waits first.
RECORD_CALLS = "BREEZEBLOCK_RECORD_CALLS"
SLOW_CALLS = "BREEZEBLOCK_SLOW_CALLS"
# With the driver `fenced_file`: how many seconds each effect on storage is on its way.
SLOW_EFFECTS = "BREEZEBLOCK_SLOW_EFFECTS"


# A filesystem that hangs keeps the threads that wait for it. So each store has its own: fences must not run out of them.
_STORE_THREADS = 16
# Hashing takes a processor each; whoever was identified before is answered meanwhile.
_HASHING_THREADS = 2


@dataclass(frozen=True, slots=True)
class Database:
    """An open database."""

    store: Store
    lane: SqliteLane | PooledLane


@dataclass(frozen=True, slots=True)
class Leisure:
    """How long the database may take for a command whose work grows with all that there is.

    `is_alone`: nobody else uses it, so whoever is idle in a transaction, or is stopped there, is in nobody's way.
    """

    statement_s: float
    transaction_s: float
    is_alone: bool


def open_database(settings: Settings, env: Env, *, leisure: Leisure | None = None) -> Database:
    """Open the configured database. Must be called on the event loop that will use it."""
    chosen = settings.database
    if leisure is None:
        session = Session(ttl_s=settings.nodes.ttl_s, connections=chosen.connections)
        patience_s = REQUEST_PATIENCE_S
    else:
        session = Session(
            ttl_s=leisure.transaction_s if leisure.is_alone else settings.nodes.ttl_s,
            connections=chosen.connections,
            statement_limit_s=leisure.statement_s,
            answer_limit_s=leisure.transaction_s,
        )
        patience_s = leisure.transaction_s
    path = sqlite_path(chosen.url)
    lane: SqliteLane | PooledLane
    if path is None:
        lane = PooledLane(Endpoints(chosen.urls, session))
    else:
        lane = SqliteLane(open_engine(chosen.url, now_us=env.clock.now_us), path)
    return Database(Store(lane, env, receivers=tuple(settings.events), patience_s=patience_s), lane)


async def open_identity(settings: Settings, env: Env) -> Authenticate:
    """Whoever finds out who asks. Nothing is asked of Keystone yet."""
    chosen = settings.auth
    if chosen.strategy == "http_basic":
        from breezeblock.api.identity.http_basic import HttpBasic, UserFiles

        assert chosen.htpasswd_file is not None and chosen.users_file is not None, (
            "settings without users were accepted"
        )
        files = UserFiles(chosen.htpasswd_file, chosen.users_file, clock=env.clock, threads=env.threads)
        await files.read()  # what is wrong with them is in the log from the start, not from the first request on
        hashing = RealThreads(max_threads=_HASHING_THREADS)
        return HttpBasic(files, clock=env.clock, ids=env.ids, threads=hashing, cache_s=chosen.cache_s)
    if chosen.strategy == "keystone":
        from breezeblock.api.identity.keystone import Keystone
        from breezeblock.api.identity.keystone_client import KeystoneClient
        from breezeblock.api.identity.tokens import ASKED_MOST, Token, Tokens

        client, asking = KeystoneClient(chosen), RealThreads(max_threads=ASKED_MOST)

        async def ask(text: str, expired_too: bool) -> Token | None:
            return await asking.run(lambda: client.validate(text, expired_too))

        tokens = Tokens(ask, clock=env.clock, cache_s=chosen.cache_s, outage_s=chosen.outage_s)
        sends_to = chosen.www_authenticate_uri or chosen.auth_url
        return Keystone(tokens, service_roles=chosen.service_roles, sends_to=sends_to)
    return BelieveEveryone(chosen.hosts)


def open_outlets(settings: Settings, env: Env) -> Mapping[str, Outlet]:
    """Every configured receiver of events by its name. No I/O yet."""
    return {
        name: Outlet(_open_receiver(chosen, env), timeout_s=chosen.timeout_s, keep_s=chosen.keep_s)
        for name, chosen in settings.events.items()
    }


def _open_receiver(chosen: EventReceiverSettings, env: Env) -> Receiver:
    if chosen.type == "webhook":
        from breezeblock.events.webhook import WebhookReceiver

        return WebhookReceiver(
            chosen.urls[0], secret_file=chosen.secret_file, ca_file=chosen.ca_file, timeout_s=chosen.timeout_s
        )
    if chosen.type == "oslo":
        from breezeblock.events.oslo import OsloReceiver

        how = {"exchange": chosen.exchange, "topic": chosen.topic}
        return OsloReceiver(chosen.urls, **how, durable=chosen.durable, quorum=chosen.quorum)
    if chosen.type == "nova":
        from breezeblock.events.nova import NovaReceiver

        assert chosen.credentials_file is not None, "settings without credentials were accepted"
        return NovaReceiver(
            credentials_file=chosen.credentials_file,
            url=chosen.urls[0] if chosen.urls else "",
            region=chosen.region,
            interface=chosen.interface,
            ca_file=chosen.ca_file,
            timeout_s=chosen.timeout_s,
            now=env.clock.boottime,
        )
    return LogReceiver()


def open_bell(settings: Settings, env: Env, tally: Tally) -> OwnDoorbell:
    """The configured doorbell. Must be called on the event loop that will ring it."""
    kind = settings.doorbell_kind
    if kind == "postgresql":
        from breezeblock.doorbells.postgresql import postgresql_bell

        return postgresql_bell(_libpq_urls(settings), env=env, tally=tally)
    if kind == "rabbitmq":
        from breezeblock.doorbells.rabbitmq import rabbitmq_bell

        return rabbitmq_bell(settings.doorbell_urls, env=env, tally=tally)
    return SilentBell() if kind == "none" else DatagramBell(_bell_folder(settings), tally)


def open_listener(
    settings: Settings, env: Env, tally: Tally, *, queues: Sequence[str], node: str, incarnation: str
) -> Listener:
    """A worker's end of it: hears what is rung for its queues, and for itself."""
    kind, own = settings.doorbell_kind, node_queue(settings.service.cluster, node)
    if kind == "postgresql":
        from breezeblock.doorbells.postgresql import postgresql_listener

        return postgresql_listener(_libpq_urls(settings), [*queues, own], env=env, tally=tally)
    if kind == "rabbitmq":
        from breezeblock.doorbells.rabbitmq import Heard, rabbitmq_listener

        heard = Heard(shared=tuple(queues), own=own, quorum=settings.doorbell.quorum)
        return rabbitmq_listener(settings.doorbell_urls, heard, env=env, tally=tally)
    if kind == "none":
        return SilentListener()
    return DatagramListener(_bell_folder(settings), incarnation, tally, hears_all=settings.one_machine)


def _libpq_urls(settings: Settings) -> list[str]:
    """As libpq reads them: without the name of the library that SQLAlchemy takes."""
    return [re.sub(r"^postgresql\+\w+://", "postgresql://", url) for url in settings.doorbell_urls]


def _bell_folder(settings: Settings) -> str:
    """Where workers listen for datagrams."""
    return str(Path(settings.service.data_dir).absolute() / "run" / "bells")


def open_backends(settings: Settings, env: Env, *, incarnation: str | None = None) -> Mapping[str, Backend]:
    """Every configured backend by its queue, `cluster@name`. A worker tells its `incarnation`."""
    opened = [
        _open_backend(name, chosen, settings, env, client=incarnation or "")
        for name, chosen in settings.backends.items()
    ]
    if incarnation is not None and (folder := os.environ.get(RECORD_CALLS)):
        return _recorded(opened, folder, incarnation, env)
    return {backend.queue: backend for backend in opened}


def _recorded(opened: list[Backend], folder: str, incarnation: str, env: Env) -> Mapping[str, Backend]:
    """The same backends, their calls written to `INCARNATION.PID.calls`."""
    from breezeblock.drivers.recorded import RecordedDriver, Recorder

    pause_s = float(os.environ.get(SLOW_CALLS) or 0)
    recorder = Recorder(_appending(folder, incarnation, "calls"), env.clock, pause_s=pause_s)
    return {backend.queue: replace(backend, driver=RecordedDriver(backend.driver, recorder)) for backend in opened}


def _appending(folder: str, incarnation: str, kind: str) -> Callable[[bytes], int]:
    """Appends to `INCARNATION.PID.KIND` in the folder for records, all of a line by one write."""
    path = Path(folder) / f"{incarnation}.{os.getpid()}.{kind}"
    return functools.partial(os.write, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))


def fence_folder(settings: Settings, backend: str) -> Path:
    """Where the storage of a `fenced_file` keeps its list: not on the storage itself, which may be full."""
    return Path(settings.service.data_dir).absolute() / "fences" / backend


def open_stores(settings: Settings, env: Env) -> Mapping[str, ObjectStore]:
    """Every configured store of backups by its name. No I/O yet."""
    return {name: _open_store(name, chosen, env) for name, chosen in settings.backup_stores.items()}


def open_archives(settings: Settings, env: Env, *, counts_file: int = -1) -> Archives:
    """The stores of backups as a worker uses them. Makes the folder in which it keeps what it knows of their archives.

    `counts_file`: the memory in which it counts what it does.
    """
    folder = Path(settings.service.data_dir).absolute() / "run" / "archives"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stores = open_stores(settings, env)
    shelves = {
        name: Shelf(
            objects=stores[name],
            shares=Shares(env.clock, bytes_per_s=chosen.rate_limit or None, at_once=min(chosen.slots, AT_ONCE)),
            level=0 if chosen.compression == "none" else chosen.compression_level,
            read_key=open_key(name, chosen),
            traffic=ByteCounts(counts_file, name, stores=settings.backup_stores),
            spend_restoring=Shares(env.clock, bytes_per_s=chosen.restore_rate_limit or None).spend,
        )
        for name, chosen in settings.backup_stores.items()
        if not chosen.is_cinders
    }
    cinders = {name: stores[name] for name, chosen in settings.backup_stores.items() if chosen.is_cinders}
    return Archives(shelves, env, folder, cinders)


def open_key(name: str, chosen: BackupStoreSettings) -> Callable[[], bytes | None]:
    """What reads a store's master key, anew each time. It blocks, and raises BackendFailed or StoreUnavailable."""
    if chosen.encryption_key_id:
        from breezeblock.backup.castellan_key import CastellanKey

        assert chosen.castellan_file is not None, (
            f"backup_stores.{name}: settings of a key without a file were accepted"
        )
        return CastellanKey(chosen.castellan_file, chosen.encryption_key_id, store=name).read
    return functools.partial(_read_key, name, chosen.encryption_key_file)


def _read_key(name: str, path: Path | None) -> bytes | None:
    try:
        return None if path is None else master_key(path.read_bytes())
    except OSError as error:
        raise BackendFailed(f"The key of backup store {name} cannot be read: {error.strerror}.") from error
    except MasterKeyError as error:
        raise BackendFailed(f"The key file of backup store {name} has no key: {error}.") from error


def _open_store(name: str, chosen: BackupStoreSettings, env: Env) -> ObjectStore:
    threads = RealThreads(max_threads=_STORE_THREADS)
    if chosen.type == "s3":
        from breezeblock.backup.stores.s3 import Bucket, S3Store

        bucket = Bucket(
            bucket=chosen.bucket,
            prefix=chosen.prefix,
            endpoint=chosen.endpoint,
            region=chosen.region,
            path_style=chosen.path_style,
            ca_file=chosen.ca_file,
            credentials_file=chosen.credentials_file,
            timeout_s=chosen.timeout_s,
        )
        return S3Store(bucket, name=name, threads=threads)
    if chosen.type == "swift":
        from breezeblock.backup.stores.swift import Container, SwiftStore

        assert chosen.credentials_file is not None, f"backup_stores.{name}: settings without credentials were accepted"
        container = Container(
            endpoint=chosen.endpoint,
            container=chosen.bucket,
            credentials_file=chosen.credentials_file,
            prefix=chosen.prefix,
            region=chosen.region,
            interface=chosen.interface,
            ca_file=chosen.ca_file,
            timeout_s=chosen.timeout_s,
        )
        return SwiftStore(container, name=name, threads=threads)
    assert chosen.path is not None, f"backup_stores.{name}: settings without a folder were accepted"
    return FolderStore(chosen.path.absolute(), name=name, ids=env.ids, threads=threads, ours=not chosen.is_cinders)


def open_fences(
    settings: Settings,
    backends: Mapping[str, Backend],
    *,
    env: Env,
    store: Store,
    commands: Commands,
    machine: str,
    boot_id: str,
) -> Fences:
    """What may fence each backend, in the order of its policy; trust, where it is allowed, comes last."""
    terms = Terms(ttl_s=settings.nodes.ttl_s, drift=settings.nodes.drift)
    cluster = settings.service.cluster
    boot = Boot(
        machine=machine,
        boot_id=boot_id,
        clock=env.clock,
        terms=terms,
        read=lambda: store.read(membership.read_nodes, cluster=cluster),
    )
    whole: dict[str, Fence] = {"same_machine": SameMachine(env.processes), "boot": boot}
    agents = {
        name: External(agent, name=name, boot_id=boot_id, commands=commands, threads=env.threads)
        for name, agent in settings.fences.items()
    }
    found: dict[str, tuple[Fence, ...]] = {}
    for queue, backend in backends.items():
        chosen, driver = settings.backends[backend.name], backend.driver
        mine = whole | {"storage": Storage(driver)}
        if chosen.fence_agent:
            mine["external"] = agents[chosen.fence_agent]
        settle_s = max(chosen.settle_s, driver.capabilities.settle_s)
        trust = (Trust(clock=env.clock, settle_s=settle_s),) if chosen.trust_self_fencing else ()
        found[queue] = (*(mine[method] for method in chosen.fence), *trust)
    return found


def open_locks(
    settings: Settings, *, env: Env, store: Store, doorbell: Doorbell, incarnation: Incarnation
) -> Mapping[str, LockSpace]:
    """The locks of each backend's driver by its queue. Backends with one scope have one space. No I/O yet."""
    calls: set[str] = set()
    spaces: dict[str, LockSpace] = {}
    for name, chosen in settings.backends.items():
        if chosen.locks_scope in spaces:
            continue
        # Two clusters that happen to name backends alike share nothing.
        scope = f"{settings.service.cluster}@{chosen.locks_scope}"
        if chosen.locks == "database":
            space: LockSpace = DatabaseLocks(env, store, doorbell, incarnation=incarnation, scope=scope, calls=calls)
        elif chosen.locks == "tooz":
            from breezeblock.node.locks_tooz import ToozLocks

            space = ToozLocks(env, url=chosen.locks_url, backend=name, scope=scope, member=incarnation)
        else:
            folder = Path(settings.service.data_dir).absolute() / "run" / "locks"
            space = LocalLocks(env, HostLocks(folder), backend=name, scope=scope)
        spaces[chosen.locks_scope] = space
    cluster = settings.service.cluster
    return {f"{cluster}@{name}": spaces[chosen.locks_scope] for name, chosen in settings.backends.items()}


def _open_backend(name: str, chosen: BackendSettings, settings: Settings, env: Env, *, client: str) -> Backend:
    opener = _fenced_file(name, settings, env, client) if chosen.driver == "fenced_file" else FileDriver
    driver = opener(
        env.files,
        name=name,
        path=PurePosixPath(chosen.path),
        clock=env.clock,
        ids=env.ids,
        copy_rate_limit_bytes_per_s=chosen.copy_rate_limit,
        trusted_shared=chosen.trust_self_fencing,
        track_changes=chosen.track_changes,
    )
    return Backend(
        name=name,
        queue=f"{settings.service.cluster}@{name}",
        driver=driver,
        slots=settings.nodes.slots,
        availability_zone=chosen.availability_zone,
        reserved_percentage=chosen.reserved_percentage,
        over_subscription_percent=int(chosen.max_over_subscription_ratio * 100) if chosen.thin else 100,
        extra=dict(chosen.capabilities),
    )


def _fenced_file(name: str, settings: Settings, env: Env, client: str) -> Callable[..., FileDriver]:
    """The file driver of chaos runs whose storage refuses who is fenced."""
    from breezeblock.drivers.fenced_file import FencedFileDriver
    from breezeblock.env.fence_list import FenceList

    records = os.environ.get(RECORD_CALLS)
    listed = FenceList(
        fence_folder(settings, name),
        note=_appending(records, client, "effects") if records and client else None,
        pause_s=float(os.environ.get(SLOW_EFFECTS) or 0),
    )
    return functools.partial(FencedFileDriver, fence_list=listed, client=client, threads=env.threads)
