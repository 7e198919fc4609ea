"""The worker process: `python -m breezeblock.processes.worker`, started by its keeper, its brief on standard input."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence

import structlog

from breezeblock import logs, settings, wiring
from breezeblock.doorbells.contract import Doorbell, Listener
from breezeblock.doorbells.tally import LISTENER, Rings
from breezeblock.env.commands import RealCommands
from breezeblock.env.contract import Env
from breezeblock.env.machine import boot_id, machine_id
from breezeblock.env.memory import keep_freed_memory
from breezeblock.env.real import real_env
from breezeblock.model.ids import Incarnation
from breezeblock.node import link as words
from breezeblock.node.gate import Gate
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.link import SocketLink
from breezeblock.node.page import Page
from breezeblock.node.sender import Sender, run_beside
from breezeblock.node.worker import Worker
from breezeblock.processes.brief import NodeBrief
from breezeblock.processes.log_levels import LogLevels
from breezeblock.processes.parent import die_with_parent
from breezeblock.protocol.leases import Terms
from breezeblock.resources.log_levels import Who
from breezeblock.resources.services import BACKUP, VOLUME
from breezeblock.settings import Settings
from breezeblock.store.run import Store
from breezeblock.work.catalogue import CATALOGUE


async def work(brief: NodeBrief) -> None:
    """Be the worker of one incarnation until it is drained or its keeper is gone."""
    chosen = settings.from_json(brief.settings_json)
    env = real_env()
    opened = wiring.open_database(chosen, env)
    backends = wiring.open_backends(chosen, env, incarnation=brief.incarnation)
    machine = machine_id(chosen.nodes.machine_id)
    fences = wiring.open_fences(
        chosen,
        backends,
        env=env,
        store=opened.store,
        commands=RealCommands(),
        machine=machine,
        boot_id=boot_id(),
    )

    link = await SocketLink.open(socket.socket(fileno=brief.link_file))
    incarnation = Incarnation(brief.incarnation)
    bell, listener = _open_doorbell(brief, chosen, env, list(backends))
    gate = Gate(env.clock, Page(brief.page_file))
    worker = Worker(
        env=env,
        store=opened.store,
        backends=backends,
        catalogue=CATALOGUE,
        doorbell=bell,
        listener=listener,
        identity=_identity(brief, machine),
        terms=Terms(ttl_s=brief.ttl_s, drift=brief.drift),
        gate=gate,
        link=link,
        limits=_limits(chosen),
        fences=fences,
        locks=wiring.open_locks(chosen, env=env, store=opened.store, doorbell=bell, incarnation=incarnation),
        archives=wiring.open_archives(chosen, env, counts_file=brief.rings_file),
    )
    _keep_what_was_imported()
    outlets = wiring.open_outlets(chosen, env)
    sender = Sender(env=env, store=opened.store, incarnation=incarnation, outlets=outlets, may_act=gate.is_open)
    levels = _log_levels(brief, chosen, env, opened.store, link=link, queues=list(backends)).start()
    await run_beside(worker.run(), sender)
    levels.cancel()


def _keep_what_was_imported() -> None:
    """It stays: looking through it again and again for garbage costs every operation a little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _log_levels(
    brief: NodeBrief, chosen: Settings, env: Env, store: Store, *, link: SocketLink, queues: list[str]
) -> LogLevels:
    """What keeps this process, and its keeper, at the log levels that operators set."""

    def tell(said: Sequence[tuple[str, str]]) -> None:
        # As it is: escaped, a few words would not fit into the line.
        link.send(f"{words.LEVELS} {json.dumps(said, ensure_ascii=False)}")

    servers = {brief.name, *queues, *(f"{brief.name}@{name}" for name in chosen.backends)}
    who = Who(frozenset({VOLUME, BACKUP}), frozenset(servers))
    return LogLevels(store=store, env=env, who=who, binary=VOLUME, host=brief.name, tell=tell)


def _identity(brief: NodeBrief, machine: str) -> Identity:
    incarnation = Incarnation(brief.incarnation)
    return Identity(cluster=brief.cluster, name=brief.name, incarnation=incarnation, pid=os.getpid(), machine=machine)


def _limits(chosen: Settings) -> Limits:
    return Limits(
        poll_s=chosen.nodes.poll_s,
        idle_poll_s=chosen.doorbell.idle_poll_s,
        poison_limit=chosen.nodes.poison_limit,
        park_after_s=chosen.nodes.park_after_s,
        quotas=chosen.quota.defaults(),
    )


def _open_doorbell(brief: NodeBrief, chosen: Settings, env: Env, queues: list[str]) -> tuple[Doorbell, Listener]:
    """Both ends: a worker also rings, for what it releases and hands back."""
    bell, listener = Rings(brief.rings_file), Rings(brief.rings_file, end=LISTENER)
    return wiring.open_bell(chosen, env, bell), wiring.open_listener(
        chosen, env, listener, queues=queues, node=brief.name, incarnation=brief.incarnation
    )


def main() -> None:
    """Run, and leave nothing running."""
    brief = NodeBrief.from_stdin()
    die_with_parent(brief.parent_pid)
    # Ctrl-C in a terminal reaches the whole group; only the keeper decides when its worker leaves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.configure(brief.log_level, brief.log_format)
    structlog.contextvars.bind_contextvars(node=brief.name, incarnation=brief.incarnation)
    keep_freed_memory()
    asyncio.run(work(brief))
    sys.stderr.flush()
    os._exit(0)  # threads inside a system call that hangs must not keep a drained process


if __name__ == "__main__":
    main()
