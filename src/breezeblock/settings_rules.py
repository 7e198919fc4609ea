"""Values that cannot be together, whatever each of them is: `settings.load` reports them all at once."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from breezeblock.database_urls import MARIADB, POSTGRESQL, is_server_url, kind_of, problem_of
from breezeblock.options import DRIVERS, Backend, FenceAgent, Settings, facts_of
from breezeblock.settings_api import contradictions_of_api, contradictions_of_limits
from breezeblock.settings_auth import contradictions_of_auth
from breezeblock.settings_events import contradictions_of_events
from breezeblock.settings_stores import contradictions_of_stores

__all__ = ["contradictions"]

Found = tuple[str, object, str]
"""Key, value, and what was expected instead."""

# Below it a third of the ttl would be less than the second that MariaDB can count.
MARIADB_TTL_S = 3.0
# Words in the names of fence agents' options that carry a secret; `password_script` and its kind carry a path.
_SECRET = re.compile(r"passw|secret|token|credential", re.IGNORECASE)
_AMQP = re.compile(r"amqps?://[^\s/?#]+(/[^\s/?#]*)?(\?[^\s#]*)?")
_POSTGRESQL = re.compile(r"postgresql(\+\w+)?://[^\s#]+")
_NO_SECRET = re.compile(r"_script$|_file$|_path$", re.IGNORECASE)


def contradictions(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong with these settings together."""
    yield from contradictions_of_auth(settings)
    yield from contradictions_of_api(settings.api)
    yield from contradictions_of_limits(settings.limits)
    yield from _database(settings)
    yield from _nodes(settings)
    yield from _doorbell(settings)
    yield from _backends(settings)
    for name, agent in settings.fences.items():
        yield from _agent(name, agent, one_machine=settings.one_machine)
    yield from contradictions_of_stores(settings)
    yield from contradictions_of_events(settings)


def _database(settings: Settings) -> Iterator[Found]:
    database = settings.database
    for number, url in enumerate(database.urls):
        key = f"database.failover_urls[{number - 1}]" if number else "database.url"
        yield from _database_url(key, url)
        if number and not is_server_url(database.url):
            yield key, url, "expected none: database.url is a file, and a file has no other servers"
        elif kind_of(url) != kind_of(database.url):
            yield key, url, f"expected the same kind of database as database.url, {kind_of(database.url)}"
    if kind_of(database.url) == MARIADB and settings.nodes.ttl_s <= MARIADB_TTL_S:
        # A process that is stopped in a transaction must lose it within a third of the ttl.
        why = "MariaDB ends idle transactions by whole seconds"
        yield "nodes.ttl_s", settings.nodes.ttl_s, f"expected more than {MARIADB_TTL_S:g}: {why}"


def _database_url(key: str, url: str) -> Iterator[Found]:
    if not re.match(r"[a-z][a-z0-9+_]*://", url):
        yield key, url, "expected a URL such as postgresql://host/name"
    elif re.fullmatch(r"sqlite(\+\w+)?://(/?|/:memory:.*|.*[?&]mode=memory.*)", url):
        yield key, url, "expected a database in a file; each process would have a memory of its own"
    elif not (url.startswith("sqlite:///") or is_server_url(url)):
        yield key, url, "expected sqlite:///PATH, postgresql://… or mariadb://…"
    elif is_server_url(url) and (problem := problem_of(url)):
        yield key, url, problem


def _nodes(settings: Settings) -> Iterator[Found]:
    nodes = settings.nodes
    if nodes.count == settings.api.workers == 0:
        yield "nodes.count", nodes.count, "expected at least 1 where api.workers is 0: there would be nothing to run"
    if nodes.name == "api":
        yield "nodes.name", nodes.name, "expected another name: api-1, api-2, … are the API's processes"
    if nodes.poll_s >= nodes.park_after_s:
        yield "nodes.poll_s", nodes.poll_s, "expected less than nodes.park_after_s"
    if nodes.park_after_s <= nodes.ttl_s * (1 + nodes.drift):
        # A node that crashed would have its operations given up before anybody may take them over.
        silence = "the silence after which a node counts as lost, nodes.ttl_s * (1 + nodes.drift)"
        yield "nodes.park_after_s", nodes.park_after_s, f"expected more than {silence}"
    if nodes.fence_agent and nodes.fence_agent not in settings.fences:
        yield "nodes.fence_agent", nodes.fence_agent, _known_agents(settings)


def _doorbell(settings: Settings) -> Iterator[Found]:
    bell, kind = settings.doorbell, settings.doorbell_kind
    if bell.idle_poll_s < settings.nodes.poll_s:
        yield "doorbell.idle_poll_s", bell.idle_poll_s, "expected at least nodes.poll_s, as with no doorbell"
    elif bell.idle_poll_s >= settings.nodes.park_after_s:
        yield "doorbell.idle_poll_s", bell.idle_poll_s, "expected less than nodes.park_after_s"
    if kind == "rabbitmq":
        if find_spec("aiormq") is None:
            yield (
                "doorbell.kind",
                bell.kind,
                "it needs a library that is not installed: pip install 'breezeblock[rabbitmq]'",
            )
        if not bell.urls:
            yield "doorbell.urls", bell.urls, "rabbitmq needs the URL of a broker, such as amqp://user:password@host/"
        yield from _served(bell.urls, _AMQP, "expected a URL such as amqp://user:password@host:5672/ or amqps://...")
    elif kind == "postgresql":
        if not bell.urls and kind_of(settings.database.url) != POSTGRESQL:
            yield (
                "doorbell.kind",
                bell.kind,
                "the database is not PostgreSQL, so doorbell.urls must name a server that is",
            )
        yield from _served(bell.urls, _POSTGRESQL, "expected a URL such as postgresql://user:password@host/name")
    elif bell.urls:
        yield "doorbell.urls", bell.urls, f"a doorbell of the kind {kind} has no servers; expected none"


def _served(urls: list[str], form: re.Pattern[str], expected: str) -> Iterator[Found]:
    for url in urls:
        if not form.fullmatch(url):
            yield "doorbell.urls", url, expected
        elif not _has_a_port_that_can_be(url):
            yield "doorbell.urls", url, "expected a port between 1 and 65535"


def _has_a_port_that_can_be(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _backends(settings: Settings) -> Iterator[Found]:
    # Two backends in one folder would count its space twice, and each would report the other's files as orphans.
    first: dict[Path, str] = {}
    for name, backend in settings.backends.items():
        if facts_of(backend.driver) is None:
            known = ", ".join(DRIVERS)
            yield f"backends.{name}.driver", backend.driver, f"expected {known}, the one driver of this release"
            continue
        other = first.setdefault(backend.path, name)
        if other != name:
            yield f"backends.{name}.path", str(backend.path), f"backend {other} has this path already"
        yield from _fences(name, backend, settings)
    yield from _locks(settings)


def _locks(settings: Settings) -> Iterator[Found]:
    first: dict[str, tuple[str, str, str]] = {}
    for name, backend in settings.backends.items():
        key, url = f"backends.{name}", backend.locks_url
        if backend.locks != "tooz" and url:
            yield f"{key}.locks_url", url, f"only tooz has a URL; expected none with locks = {backend.locks}"
        elif backend.locks == "tooz" and not re.match(r"[a-z][a-z0-9+]*://", url):
            yield f"{key}.locks_url", url, "tooz needs a URL such as redis://host:6379?lock_timeout=30"
        elif backend.locks == "tooz" and find_spec("tooz") is None:
            yield f"{key}.locks", backend.locks, "the package tooz is not installed: pip install 'breezeblock[tooz]'"
        other, *theirs = first.setdefault(backend.locks_scope, (name, backend.locks, url))
        if theirs != [backend.locks, url]:
            # Each would believe that it excludes the other.
            same = f"backend {other} has this scope, so expected its locks and locks_url, or another scope"
            yield f"{key}.locks_scope", backend.locks_scope, same


def _fences(name: str, backend: Backend, settings: Settings) -> Iterator[Found]:
    key, driver = f"backends.{name}", facts_of(backend.driver)
    assert driver is not None
    methods = backend.fence
    if len(set(methods)) < len(methods):
        yield f"{key}.fence", methods, "expected each method once"
    if "same_machine" in methods and not settings.one_machine:
        # Elsewhere a survivor on another machine would have to believe a kill that it cannot see.
        yield (
            f"{key}.fence",
            methods,
            "same_machine is a fence only where all nodes are on one machine: nodes.one_machine",
        )
    if "external" in methods and not backend.fence_agent:
        yield f"{key}.fence", methods, "external needs a fence_agent, of this backend or of [nodes]"
    if backend.fence_agent and backend.fence_agent not in settings.fences and backend.fence_agent != _default(settings):
        yield f"{key}.fence_agent", backend.fence_agent, _known_agents(settings)
    if "storage" in methods and not driver.storage_fence:
        yield f"{key}.fence", methods, f"the driver {backend.driver} cannot make its storage refuse a node"
    if backend.settle_s < driver.settle_s:
        yield f"{key}.settle_s", backend.settle_s, f"expected at least {driver.settle_s:g}, which its driver needs"
    # `boot` alone is not enough: a machine that never comes back would keep its operations for ever.
    if not backend.trust_self_fencing and not {"same_machine", "external", "storage"} & set(methods):
        where = "same_machine, external" if settings.one_machine else "external, storage"
        why = "a lost node could still write while others take over its work"
        trust = f"trust_self_fencing = true in [{key}], which risks just that (docs/howto/fencing.md)"
        yield (
            f"{key}.fence",
            methods,
            f"nothing proves that a lost node has stopped, and {why}; add {where}, or {trust}",
        )


def _default(settings: Settings) -> str:
    """The agent that backends take over from [nodes], where it was reported already if there is none of that name."""
    return settings.nodes.fence_agent


def _known_agents(settings: Settings) -> str:
    known = ", ".join(settings.fences)
    return f"expected one of {known}" if known else "there is no [fences.NAME] section of that name"


def _agent(name: str, agent: FenceAgent, *, one_machine: bool) -> Iterator[Found]:
    key = f"fences.{name}"
    if not Path(agent.command[0]).is_absolute():
        yield f"{key}.command", agent.command, "expected the program's whole path first: no shell looks for it"
    if agent.scope == "machine" and one_machine:
        yield f"{key}.scope", agent.scope, "expected node: to cut off the one machine would end all nodes"
    for where, told in (("options", agent.options), *(("nodes", told) for told in agent.nodes.values())):
        for option in told:
            if _SECRET.search(option) and not _NO_SECRET.search(option):
                hint = f'write the secret into a file and name it: option_files = {{ {option} = "FILE" }}'
                yield f"{key}.{where}", option, f"{option} looks like a secret; {hint}"
