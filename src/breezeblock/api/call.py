"""One request, as handlers see it, and what a server needs to answer it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
import structlog
from sqlalchemy import Connection

from breezeblock.api import bodies
from breezeblock.api.audit import Audit
from breezeblock.api.auth import Caller
from breezeblock.api.counts import RequestCounts
from breezeblock.api.health import Health
from breezeblock.api.microversions import Version
from breezeblock.api.policy import Policy, Rights, Target
from breezeblock.api.rates import Rates
from breezeblock.api.scrapes import Scrapes
from breezeblock.env.contract import Env
from breezeblock.model.errors import BadRequest, Forbidden
from breezeblock.model.origin import Origin
from breezeblock.resources.quotas import ByProject
from breezeblock.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")


class Store(Protocol):
    """Transactions, as `breezeblock.store.run` keeps them."""

    async def run(self, f: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a writing transaction; `f` may run more than once."""
        ...

    async def read(self, f: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a reading transaction."""
        ...


class Doorbell(Protocol):
    """Wakes the nodes of a queue. Never blocks, never fails; a lost ring costs latency and nothing else."""

    def ring(self, queue: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """All that the API layer stands on."""

    store: Store
    env: Env
    doorbell: Doorbell
    settings: Settings
    policy: Policy = field(default_factory=Policy)
    counts: RequestCounts = field(default_factory=RequestCounts)
    audit: Audit | None = None
    # By process: the files in memory in which each counts its rings (`doorbells.tally`).
    rings: Mapping[str, int] = field(default_factory=dict)
    health: Health = field(init=False)
    rates: Rates = field(init=False)
    scrapes: Scrapes = field(init=False)

    def __post_init__(self) -> None:
        # Of what is here already; a frozen value takes them this way only.
        object.__setattr__(self, "health", Health(self.store, self.env.clock))
        rates = Rates(self.settings.limits, self.env.clock, processes=self.settings.api.workers)
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "scrapes", Scrapes(self.env.clock))


@dataclass(slots=True)
class Call:
    """One request. `path` has the variables of the URL's template, `raw` the part of the body that is the handler's."""

    services: Services
    caller: Caller
    rights: Rights
    origin: Origin
    microversion: Version
    method: str
    path: Mapping[str, str]
    headers: Mapping[str, str]
    query_string: str
    # `https://host:port`, and the project as the URL wrote it, for links back to us.
    base_url: str
    url_project: str | None
    raw: bytes | msgspec.Raw = b""
    # The key of an action's body; empty elsewhere.
    action: str = ""
    # Whose the resource is, where the policy needs to know (owners.py).
    target: Target | None = None
    # What the handler asked for; a handler that asks for nothing is a mistake of ours (app.py).
    permitted: bool = False
    # And by the rule's name, the first one: it is what the request is about.
    rule: str = ""
    _query: dict[str, str] | None = None

    @property
    def store(self) -> Store:
        return self.services.store

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @property
    def quota_defaults(self) -> Mapping[str, int]:
        """The limits of the caller's project if nothing was set for it: of what is charged to that project, and to no other."""
        return self.quotas_of_owner.of(self.origin.project_id)

    @property
    def quota_settings(self) -> dict[str, int]:
        """The limits of a project of which nobody has said anything."""
        return self.services.settings.quota.defaults()

    @property
    def quotas_of_owner(self) -> ByProject:
        """Those of whoever has what is changed, who is another project when an administrator asks."""
        return ByProject(self.quota_settings, self.caller.quotas)

    @property
    def spares_instances(self) -> bool:
        """Whether the caller may not take a volume away under an instance: he is no service of the cloud."""
        auth = self.services.settings.auth
        return auth.strategy == "keystone" and auth.protect_nova_attachments and not self.caller.is_service

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last counts."""
        if self._query is None:
            self._query = dict(parse_qsl(self.query_string, keep_blank_values=True)) if self.query_string else {}
        return self._query

    @property
    def v3_url(self) -> str:
        """Where this API's resources are, in the spelling (with or without project) that the request used."""
        return f"{self.base_url}/v3/{self.url_project}" if self.url_project else f"{self.base_url}/v3"

    @property
    def bookmark_url(self) -> str:
        """The same without a version: links that are to outlive it."""
        return f"{self.base_url}/{self.url_project}" if self.url_project else self.base_url

    def permit(self, rule: str, target: Target | None = None) -> None:
        """Go on only if the policy lets this caller. Raises Forbidden. Rows are filtered by project in the queries.

        `target` is for what is not the resource in the URL and may be another project's.
        """
        self.rule = self.rule or rule
        if (why_not := self.refusal(rule, target)) is not None:
            raise Forbidden(why_not)
        self.permitted = True

    def refusal(self, rule: str, target: Target | None = None) -> str | None:
        """What `permit` would say, None if nothing: for a transaction in which a row decides whether this rule is asked."""
        if self.allows(rule, target):
            return None
        return (
            f"Policy does not allow {rule} to this caller: it is for {self.rights.expected(rule)}. "
            "Ask an administrator of the cloud for such a role, or for another policy."
        )

    def allows(self, rule: str, target: Target | None = None) -> bool:
        """Whether the policy would let this caller do it, to the resource in the URL if there is one."""
        if target is not None:
            return self.rights.judge(rule, self.caller, target)
        return self.rights.allows(rule, self.caller, self.target)

    def may(self, rule: str) -> bool:
        """Whether the policy would let this caller whosoever the resource, for parts of answers that only some may see."""
        return self.rights.may(rule)

    @property
    def own(self) -> Target:
        """The caller as the owner of what is about to be made."""
        return Target(self.caller.project_id, self.caller.user_id)

    def body(self, kind: type[B]) -> B:
        """The request's body (of an action: what is under its key). Raises BadRequest."""
        if not bytes(self.raw):
            raise BadRequest("Malformed request body: it is empty.")
        return bodies.read(self.raw, kind, at=self.action)

    def new_id(self) -> str:
        """A fresh id, drawn before any transaction."""
        return self.services.env.ids.uuid()

    def ring(self, queue: str | None) -> None:
        """Wake a queue's nodes after the commit; None is for changes that leave no work."""
        if queue is not None:
            structlog.contextvars.bind_contextvars(operation_id=self.origin.operation_id)
            self.services.doorbell.ring(queue)
