"""The routes, on one page, and the gate in front of them."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gesso.api.auth import Auth
from gesso.api.errors import Errors, Languages
from gesso.api.events import Events
from gesso.api.files import Uploads
from gesso.api.health import Health
from gesso.api.history import History
from gesso.api.models import Models
from gesso.api.openapi import OpenAPI
from gesso.api.outputs import Outputs
from gesso.api.rates import Rate
from gesso.api.requests import Requests
from gesso.core.errors import BadHost, BadToken, GessoError
from gesso.store.tokens import Grant

HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
MOST_KNOWN_HOSTS = 100
OPEN = frozenset({"/", "/healthz", "/readyz", "/llms.txt", "/metrics"})
OPEN_BELOW = ("/files/", "/playground/", "/models/")  # signed URLs, and the playground, which holds nobody's things
LLMS = "/llms.txt"  # a model's, which holds what the catalogue holds
REQUESTS = "/v1/requests/"
MODELS = "/v1/models/"
Handler = Callable[[HTTPRequest], Awaitable[Response]]


def routes(requests: Requests, models: Models, uploads: Uploads, outputs: Outputs, health: Health,
           openapi: OpenAPI) -> list[Route]:  # fmt: skip
    """Every route of the API; `openapi.json` is held equal to it by a test."""

    async def model(http: HTTPRequest) -> Response:
        return await (requests.submit if http.method == "POST" else models.get)(http)

    return [
        Route("/v1/requests/{request_id}/status", requests.status, methods=["GET"]),
        Route("/v1/requests/{request_id}/result", requests.result, methods=["GET"]),
        Route("/v1/requests/{request_id}/cancel", requests.cancel, methods=["POST"]),
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/categories", models.categories, methods=["GET"]),
        Route("/v1/models/{model_id:path}", model, methods=["GET", "POST"]),
        Route("/v1/files", uploads.upload, methods=["POST"]),
        Route("/v1/balance", models.balance, methods=["GET"]),
        Route("/prod/v2/balance", models.balance, methods=["GET"]),
        Route("/v1/openapi.json", openapi.serve, methods=["GET"]),
        Route("/files/{key}/{name}", outputs.serve, methods=["GET"]),
        Route("/healthz", health.healthz, methods=["GET"]),
        Route("/readyz", health.readyz, methods=["GET"]),
    ]


def live_routes(events: Events, history: History) -> list[Route]:
    """What tells of requests beside those; in the same description."""
    return [
        Route("/v1/requests/{request_id}/events", events.serve, methods=["GET"]),
        Route("/v1/requests", history.serve, methods=["GET"]),
    ]


def make_app(table: Iterable[Route], errors: Errors, gate: "Gate") -> "Gate":
    """The whole application: the gate, then the routes; no redirects, one shape for every error."""
    app = Starlette(
        routes=list(table),
        exception_handlers={GessoError: errors.gesso, HTTPException: errors.http, Exception: errors.unforeseen},
    )
    app.router.redirect_slashes = False
    gate.inner = app
    return gate


class Gate:
    """In front of the router: the Host is one of ours, the token speaks for an owner; then, and only then, routes.

    Submits and polls go to their handlers from here: they are nearly all of the traffic, and a poll would cost twice as
    much behind the router (measured in benchmarks/).

    Args:
        hosts: legal names in Host headers, lower case; an IP address is always one.
        reads: how often an owner may call at all.
        bad_tokens: how often an address may fail to sign in.

    Attributes:
        inner: the router.
        stop: called when the server stops, before it waits for what is under way.
        polls_at_once: whether the database answers point reads without a pause.
    """

    inner: ASGIApp
    stop: Callable[[], None]
    polls_at_once = False

    def __init__(
        self, auth: Auth, errors: Errors, languages: Languages, requests: Requests, hosts: frozenset[str],
        *, reads: Rate, bad_tokens: Rate,
    ) -> None:  # fmt: skip
        self._reads = reads
        self._bad_tokens = bad_tokens
        self._languages = languages
        self._auth = auth
        self._errors = errors
        self._submit: Handler = requests.submit
        self._status = requests.status_of
        self._polls: Mapping[str, Handler] = {"status": requests.status, "result": requests.result}
        self._hosts = hosts
        self._known_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        try:
            handler = await self._judge(scope)
            known = await handler(HTTPRequest(scope, receive)) if handler else None
        except GessoError as error:
            known = self._errors.respond(scope, error)
        except Exception as error:  # noqa: BLE001 - one shape for every error, also for what nobody foresaw
            known = self._errors.broken(scope, error)
        await (known or self.inner)(scope, receive, send)

    async def poll(self, scope: Scope) -> Response:
        """The answer to `GET /v1/requests/{request_id}/status`; for `api/polling.py`."""
        try:
            self._check_host(scope)
            owner = (await self._grant(scope)).owner
            self._reads.take(owner)
            return await self._status(scope["path"][len(REQUESTS) : -len("/status")], owner)
        except GessoError as error:
            return self._errors.respond(scope, error)
        except Exception as error:  # noqa: BLE001 - as above
            return self._errors.broken(scope, error)

    async def _judge(self, scope: Scope) -> Handler | None:
        """Who answers, where that takes no router."""
        self._check_host(scope)
        scope["gesso.language"] = self._languages.of(scope)
        path: str = scope["path"]
        if _is_open(path):
            return None
        grant = await self._grant(scope)
        scope["gesso.owner"], scope["gesso.ceiling"] = grant.owner, grant.ceiling
        scope["gesso.is_admin"] = grant.is_admin
        self._reads.take(grant.owner)
        return self._short_cut(scope, scope["method"], path)

    def _short_cut(self, scope: Scope, method: str, path: str) -> Handler | None:
        if method == "GET" and path.startswith(REQUESTS):
            request_id, _, part = path[len(REQUESTS) :].partition("/")
            scope["path_params"] = {"request_id": request_id}
            return self._polls.get(part)
        if method == "POST" and path.startswith(MODELS):
            scope["path_params"] = {"model_id": path[len(MODELS) :]}
            return self._submit
        return None

    async def _grant(self, scope: Scope) -> Grant:
        """What the token gives; an address that is wrong too often is told to wait, a good token never."""
        try:
            return await self._auth.grant(scope["headers"])
        except BadToken:
            self._bad_tokens.take(_neighbourhood((scope.get("client") or ("", 0))[0]))
            raise

    def _check_host(self, scope: Scope) -> None:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1 or given[0] not in self._known_hosts:
            self._learn_host(given)

    def _learn_host(self, given: list[bytes]) -> None:
        match = HOST.fullmatch(given[0].decode("latin-1").lower()) if len(given) == 1 else None
        if match is None or not (match["name"] in self._hosts or _is_address(match["name"])):
            raise BadHost
        if len(self._known_hosts) < MOST_KNOWN_HOSTS:
            self._known_hosts.add(given[0])


def _is_open(path: str) -> bool:
    """Whether it is for everybody, without a token."""
    return path in OPEN or (path.startswith(OPEN_BELOW) and not path.endswith(LLMS))


def _neighbourhood(address: str) -> str:
    """Whose address it is: of IPv6 the first 64 bits, because whoever has one address there has them all."""
    return address if "." in address or ":" not in address else str(ip_network((address, 64), strict=False))


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
