"""The API process: `python -m breezeblock.processes.api`, its brief on standard input.

It serves a socket that it inherits, already listening: all API processes accept from the one queue that the kernel keeps
behind it. So when one of them is killed no connection is refused, and when one is stopped its siblings take the next.

It dies in one of three ways: told to (SIGTERM: accept nothing more, answer what is under way, leave), with its parent, or
killed by the supervisor because its event loop did not answer a ping for some seconds.
"""

import asyncio
import gc
import logging
import os
import platform
import signal
import socket
import sys

import structlog

from breezeblock import logs, settings, wiring
from breezeblock.api.app import build_app
from breezeblock.api.audit import open_audit
from breezeblock.api.call import Services
from breezeblock.api.counts import RequestCounts
from breezeblock.api.policy import Policy
from breezeblock.doorbells.tally import Rings
from breezeblock.env.real import real_env
from breezeblock.node import link as words
from breezeblock.node.link import SocketLink, answer_pings
from breezeblock.processes.brief import ApiBrief
from breezeblock.processes.log_levels import LogLevels
from breezeblock.processes.parent import die_with_parent
from breezeblock.processes.server import Front
from breezeblock.resources.log_levels import API, Who
from breezeblock.resources.services import SCHEDULER

log = structlog.get_logger("breezeblock.processes.api")  # by its own name: it is started as `__main__`


async def serve(brief: ApiBrief) -> None:
    """Answer requests until told to stop."""
    chosen = settings.from_json(brief.settings_json)
    env = real_env()
    opened = wiring.open_database(chosen, env)
    bell = wiring.open_bell(chosen, env, Rings(brief.rings_files.get(brief.name, -1)))
    counts = RequestCounts(brief.counts_files, place=brief.place)
    services = Services(
        store=opened.store,
        env=env,
        doorbell=bell,
        settings=chosen,
        policy=Policy(env=env, file=chosen.policy.file),
        counts=counts,
        audit=open_audit(chosen.audit),
        rings=brief.rings_files,
    )
    app = build_app(services, authenticate=await wiring.open_identity(chosen, env))
    front = Front(app, brief.listening_file, api=chosen.api, limits=chosen.limits, clock=env.clock)
    front.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the supervisor's to hear; it then tells us
    serving = asyncio.ensure_future(front.broken())
    renewing = asyncio.ensure_future(front.renew())
    link = await SocketLink.open(socket.socket(fileno=brief.link_file))
    answering = asyncio.ensure_future(answer_pings(link))
    link.send(words.READY)
    # What was imported stays: looking through it again and again for garbage costs every long list some milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    host, cluster = platform.node(), chosen.service.cluster
    who = Who(frozenset({API, SCHEDULER}), frozenset({host, cluster}))
    levels = LogLevels(store=opened.store, env=env, who=who, binary=API, host=host).start()
    log.info("api.serving")
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((serving, stopping, answering), return_when=asyncio.FIRST_COMPLETED)
    log.info("api.stopping")
    services.health.is_leaving = True
    levels.cancel()
    renewing.cancel()
    _, unfinished = await asyncio.wait((asyncio.ensure_future(front.stop()),), timeout=chosen.api.drain_s)
    if unfinished:
        log.warning("api.requests_cut_off", drain_s=chosen.api.drain_s)
    opened.lane.close()


def main() -> None:
    """Serve, and leave nothing running."""
    brief = ApiBrief.from_stdin()
    die_with_parent(brief.parent_pid)
    logs.configure(brief.log_level, brief.log_format)
    logging.getLogger("_granian").setLevel(logging.ERROR)  # it warns that embedding is experimental; it is tested here
    structlog.contextvars.bind_contextvars(api=brief.name)
    asyncio.run(serve(brief))
    sys.stderr.flush()
    os._exit(0)  # threads inside a system call that hangs must not keep a process that has answered everything


if __name__ == "__main__":
    main()
