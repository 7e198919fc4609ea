"""The application: what happens to every request, in order.

    1. it gets an id, which every answer and every log line carries             (RequestIds)
    2. whatever goes wrong unexpectedly is logged and becomes 500               (RequestIds: the last resort)
    3. its URL and headers are within bounds                                   (Dispatch, incoming.py)
    4. its URL names a route and perhaps a project                             (Dispatch)
    5. its microversion is read                                                 (Dispatch)
    6. its address asks no faster than it may; its caller is known, and does not, either  (Dispatch, auth.py, rates.py)
    7. its handler runs; refusals become answers by the table                   (Dispatch, errors.py)

Middlewares are plain ASGI: one that buffers or starts tasks would cost more than all of the rest.
"""

import re
from typing import Final, NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from breezeblock.api import auth, bodies, errors, microversions, owners, routes
from breezeblock.api.audit import Entry
from breezeblock.api.call import Call, Services
from breezeblock.api.errors import Refused
from breezeblock.api.incoming import NO_NUL, Headers, bounded, read_body, read_headers
from breezeblock.api.microversions import Version
from breezeblock.api.proxies import Proxies, Reached
from breezeblock.api.rates import READS
from breezeblock.api.routing import Handler, Match, Route, Router
from breezeblock.env.contract import Ids
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import MessageId, OperationId
from breezeblock.model.origin import Origin

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"req-[0-9a-fA-F-]{36}\Z")
# What an answer holds is of one caller, and never a page, whatever a browser makes of its bytes. No other site's pages are
# let read it: nothing here speaks CORS.
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"server", b"breezeblock"),
)
# A line of the log has no more of a URL than this, and of a method, which is any word to HTTP.
_PATH_LOGGED: Final = 1024
_METHOD_LOGGED: Final = 32
UNKNOWN_URL: Final = "There is no such URL."


def build_app(services: Services, *, authenticate: auth.Authenticate | None = None) -> Starlette:
    """The whole API on these services. Without somebody who finds out who asks, everyone is believed."""
    authenticate = authenticate or auth.BelieveEveryone(services.settings.auth.hosts)
    app = Starlette(middleware=[Middleware(RequestIds, ids=services.env.ids)])
    # For whatever matches none of its routes, of which it has none: a pattern would leave out paths with a line break.
    app.router.default = Dispatch(services, authenticate)
    return app


class RequestIds:
    """Give the request an id, and make sure that it gets an answer."""

    def __init__(self, app: ASGIApp, *, ids: Ids) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req-{self._ids.uuid()}"
        scope["breezeblock.request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                encoded = request_id.encode()
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-openstack-request-id", encoded),
                    (b"x-compute-request-id", encoded),
                    *SECURITY_HEADERS,
                ]
            await send(message)

        # A caller's id ties our log lines to its own; anything but an id in that header is not for our log.
        global_id = dict(scope["headers"]).get(b"x-openstack-request-id", b"").decode("latin-1")
        context = {"request_id": request_id}
        if _REQUEST_ID.match(global_id):
            context["global_request_id"] = global_id
        with structlog.contextvars.bound_contextvars(**context, operation_id=None):
            structlog.contextvars.unbind_contextvars(
                "operation_id"
            )  # bound when the request leaves one; undone after it
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception(
                    "request.broke", method=scope["method"][:_METHOD_LOGGED], path=scope["path"][:_PATH_LOGGED]
                )
                if started:
                    raise
                await errors.fault(500, errors.BROKEN)(scope, receive, send_with_id)


class Dispatch:
    """Find the handler, prepare its call, turn what it raises into an answer."""

    def __init__(self, services: Services, authenticate: auth.Authenticate) -> None:
        self._services = services
        self._authenticate = authenticate
        self._router = Router(routes.ROUTES)
        api = services.settings.api
        self._proxies = Proxies(api.trusted_proxies, family=api.proxy_headers)
        services.counts.begin(routes.KINDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._services.env.clock.boottime()
        headers = read_headers(scope)
        version = kind = None
        reached = self._proxies.reached(scope, headers)
        # What anybody may send as fast as he likes is counted, and not written down.
        entry, is_told = None, False
        try:
            bounded(scope)
            match = self._find(scope)
            kind = routes.kind(match.routes.get(scope["method"])) if match is not None else None
            self._require_rate_of_address(scope, reached.address)
            entry, is_told = self._entry(scope, reached), True
            version = self._version(scope, headers)
            if match is None:
                raise Refused(404, UNKNOWN_URL)
            if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
                raise Refused(400, f"Malformed request URL: {NO_NUL}.")
            response = await self._answer(_Asked(scope, receive, headers, reached), version, match, entry)
        except errors.ANSWERED as error:  # what the table does not know goes on to RequestIds
            response = errors.answer_for(error)
        except Exception:
            self._count(kind, 500, began)
            await self._audit(entry, 500, b"")
            raise
        if version is not None and scope["path"].startswith("/v3"):
            microversions.mark(response.headers, version)
        if is_told and scope["method"] not in ("GET", "HEAD"):
            # Who changes what is worth a line each; reading is not. The request's and the operation's id are bound to it.
            method, path = scope["method"][:_METHOD_LOGGED], scope["path"][:_PATH_LOGGED]
            log.info("request.answered", method=method, path=path, status=response.status_code)
        self._count(kind, response.status_code, began)
        await self._audit(entry, response.status_code, bytes(response.body))
        await response(scope, receive, send)

    def _entry(self, scope: Scope, reached: Reached) -> Entry | None:
        """What is written down of a request, where that is wanted: of one that may change something."""
        if self._services.audit is None or scope["method"] in ("GET", "HEAD"):
            return None
        return Entry(
            method=scope["method"],
            path=scope["path"],
            request_id=scope["breezeblock.request_id"],
            at_us=self._services.env.clock.now_us(),
            address=reached.address,
        )

    async def _audit(self, entry: Entry | None, status: int, body: bytes) -> None:
        if entry is not None and self._services.audit is not None:
            await self._services.audit.write(entry.line(status=status, body=body))

    def _count(self, kind: tuple[str, str] | None, status: int, began: float) -> None:
        # Until the answer is ready: how fast a client takes it is not our speed.
        self._services.counts.add(kind, status, self._services.env.clock.boottime() - began)

    def _find(self, scope: Scope) -> Match | None:
        path: str = scope["path"]
        top = routes.TOP.get(path)
        if top is not None:
            return Match({top.method: top}, {}, None)
        return self._router.find(_encoded_path(scope))

    def _version(self, scope: Scope, headers: Headers) -> Version:
        # Discovery must answer whatever version a client asks for: it is how the client learns better.
        if not scope["path"].startswith("/v3"):
            return microversions.OLDEST
        return microversions.negotiate(headers.get(microversions.HEADER.lower()))

    async def _answer(self, asked: "_Asked", version: Version, match: Match, entry: Entry | None) -> Response:
        method: str = asked.scope["method"]
        route = match.routes.get(method)
        if route is None:
            allowed = ", ".join(sorted(match.routes))
            raise Refused(
                405,
                f"This URL does not take {method[:_METHOD_LOGGED]}: it takes {allowed}.",
                headers={"Allow": allowed},
            )
        if not route.since <= version <= route.until:
            raise Refused(404, f"This URL does not exist in API version {version}.")
        caller = await self._caller(asked, match)
        if asked.scope["path"] not in routes.TOP:
            self._require_rate(caller, method)
        await self._services.policy.refresh()
        call = self._call(asked, version, match, caller)
        if entry is not None:
            entry.route, entry.call = route.template, call
        if method in ("POST", "PUT"):
            timeout_s = self._services.settings.limits.body_timeout_s
            call.raw = await read_body(asked.receive, asked.headers, timeout_s=timeout_s)
        if call.rights.asks_for_owners:
            call.target = await owners.find(call, route)
        response = await _handler(route, call)(call)
        assert call.permitted, f"{method} {route.template} answered without asking for permission"
        return response

    async def _caller(self, asked: "_Asked", match: Match) -> auth.Caller:
        scope, default_project = asked.scope, self._services.settings.service.default_project
        asking = auth.Asking(
            asked.headers,
            match.url_project,
            default_project,
            asked.reached.address,
            scope["method"],
            _encoded_path(scope),
        )
        if scope["path"] in routes.TOP:
            # Versions, health and what watches the service: nobody is asked there who he is, as in front of Cinder.
            return auth.somebody(asking)
        caller = await self._authenticate(asking)
        auth.require_storable(caller)
        return caller

    def _require_rate(self, caller: auth.Caller, method: str) -> None:
        """Raises Refused (429) when the caller's project asks faster than it may."""
        refused = self._services.rates.take(caller.project_id, method)
        if refused is not None:
            rate, wait_s = refused
            what = "read" if method in READS else "change something"
            raise Refused(
                429,
                f"Project {caller.project_id} asks too fast: {rate.per_s} requests a second that {what} are taken, "
                f"{rate.burst} at once. Try again in {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )

    def _require_rate_of_address(self, scope: Scope, address: str) -> None:
        """Raises Refused (429) when more comes from an address than may, whoever sends it: nothing was paid for it yet."""
        if scope["path"] in routes.UNLIMITED and scope["method"] in ("GET", "HEAD"):
            return
        refused = self._services.rates.take_of_address(address)
        if refused is not None:
            rate, wait_s = refused
            raise Refused(
                429,
                f"Too many requests come from the address {address}: {rate.per_s} a second are taken, {rate.burst} at once. "
                f"Try again in {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )

    def _call(self, asked: "_Asked", version: Version, match: Match, caller: auth.Caller) -> Call:
        services, scope = self._services, asked.scope
        ids, rights = services.env.ids, services.policy.rights(caller)
        return Call(
            services=services,
            caller=caller,
            rights=rights,
            origin=Origin(
                project_id=caller.project_id,
                user_id=caller.user_id,
                is_admin=rights.is_admin,
                request_id=scope["breezeblock.request_id"],
                at_us=services.env.clock.now_us(),
                operation_id=OperationId(ids.uuid()),
                message_id=MessageId(ids.uuid()),
            ),
            microversion=version,
            method=scope["method"],
            path=match.path,
            headers=asked.headers,
            query_string=scope["query_string"].decode("latin-1"),
            base_url=asked.reached.base_url,
            url_project=match.url_project,
        )


class _Asked(NamedTuple):
    """A request as it came in."""

    scope: Scope
    receive: Receive
    headers: Headers
    reached: Reached


def _handler(route: Route, call: Call) -> Handler:
    """The route's handler; for an action's body that of its key, with the call narrowed to what is under the key."""
    if route.handler is not None:
        return route.handler
    assert route.actions is not None, "a route has a handler or actions"
    if not call.raw:
        raise BadRequest("Malformed request body: it is empty; expected one key, the name of the action.")
    key, call.raw = bodies.single_key(bytes(call.raw))
    action = route.actions.get(key)
    if action is None:
        raise BadRequest(f"There is no such action: {key}. Known here: {', '.join(sorted(route.actions))}.")
    if not action.since <= call.microversion <= action.until:
        raise Refused(404, f"The action {key} does not exist in API version {call.microversion}.")
    call.action = key
    return action.handler


def _encoded_path(scope: Scope) -> str:
    """The path as it was sent: names in it may hold slashes."""
    path: str = scope["path"]
    raw = scope.get("raw_path")
    # Only an encoded path can differ from what the server decoded.
    if raw and b"%" in raw:
        path = raw.split(b"?", 1)[0].decode("latin-1").removeprefix(scope.get("root_path", ""))
    return path
