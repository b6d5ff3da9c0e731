"""The four calls: submit, status, result, cancel."""

import asyncio
import logging
from collections.abc import Mapping

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer, translated
from gesso.api.limits import Held, Limits, headers_of, parse_json, read_body, require_json
from gesso.api.options import options_of
from gesso.api.pictures import Accepted, Pictures, image_values, size_of
from gesso.api.query import flag, idempotency_key, preferred_wait, wait
from gesso.api.results import Results
from gesso.api.waiting import Live
from gesso.core import wire
from gesso.core.errors import PayloadTooLarge
from gesso.core.model import Model
from gesso.core.ports import Clock
from gesso.core.request import Request
from gesso.core.states import FINAL
from gesso.core.wire import JSON
from gesso.files.data_uris import is_data_uri
from gesso.store.once import Once
from gesso.store.queue import Queue

KIB = 2**10
log = logging.getLogger(__name__)


class Requests:
    """What clients do with requests. It was given its parts, and keeps nothing between two messages."""

    def __init__(
        self, catalog: Mapping[str, Model], queue: Queue, pictures: Pictures, results: Results, limits: Limits,
        live: Live, now: Clock,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._queue = queue
        self._pictures = pictures
        self._results = results
        self._wire = results.wire
        self._limits = limits
        self._live = live
        self._now = now

    async def submit(self, http: HTTPRequest) -> Response:
        """Accept an input, and answer once its request is durable. Nothing is fetched yet."""
        owner: str = http.scope["gesso.owner"]
        language: str = http.scope["gesso.language"]
        model = self._catalog[http.path_params["model_id"]]
        await self._limits.admit(owner)
        http.scope["gesso.card"] = model.card(language)
        options = options_of(http, self._pictures.policy)
        is_dry_run = flag(http.query_params, "dry_run") if http.scope["query_string"] else False
        key, wait_s = idempotency_key(headers_of(http)), preferred_wait(headers_of(http))
        require_json(http)
        with self._limits.budget.hold(owner) as held:
            accepted = await self._accept(http, held, model, owner)
            if is_dry_run:
                await self._limits.usage.require_run_time(owner)
                return await self._dry_run(accepted)
            same = Once(key, accepted.fingerprint) if key else None
            if same and (earlier := await self._queue.earlier(owner, same)):
                return await self._submitted(http, earlier, wait_s, is_replay=True)
            await self._limits.usage.require_run_time(owner)
            if accepted.here:
                await self._limits.usage.require_room(owner, size_of(accepted.here))
            frozen = await self._pictures.freeze(accepted)
        request = Request.new(
            owner=owner,
            model_id=model.id,
            input=frozen.input,
            pictures=frozen.pictures,
            language=language,
            at=self._now(),
            options=options,
        )
        kept_as = await self._queue.add(request, frozen.kept, same)
        return await self._submitted(http, kept_as, wait_s, is_replay=kept_as != request.id)

    async def _submitted(self, http: HTTPRequest, request_id: str, wait_s: int | None, *, is_replay: bool) -> Response:
        """The answer to a submit: at once, or held until the request ends or *wait_s* is over."""
        told, headers = self._wire.submitted(request_id), {"Idempotent-Replayed": "true"} if is_replay else {}
        if wait_s is None:
            return answer(told, headers=headers)
        owner, language = http.scope["gesso.owner"], http.scope["gesso.language"]
        await self._live.lines.wait(request_id, owner, wait_s, http.receive)
        request = await self._queue.get(request_id, owner)
        headers["Preference-Applied"] = f"wait={wait_s}"
        return translated(told | self._results.body(request, language), language, headers=headers)

    async def _dry_run(self, accepted: Accepted) -> Response:
        """Judge what a submit would judge and what intake would, and keep nothing."""
        await self._pictures.try_out(accepted)
        model = accepted.model
        waiting = await self._queue.length(model.id)
        eta_s = await self._live.pace.waiting_s(model.id, waiting)
        return answer(wire.dry_run(model.id, waiting, eta_s, model.price.base_usd))

    async def _accept(self, http: HTTPRequest, held: Held, model: Model, owner: str) -> Accepted:
        """Read the body and accept it; a large one is parsed in a thread, where it holds nobody up."""
        body = await read_body(http, held, self._limits.budget.largest)
        if len(body) <= self._limits.budget.small:
            told = parse_json(body)
            return self._pictures.accept(model, told, await self._pictures.find_own(model, told, owner))
        told = await asyncio.to_thread(self._parse_large, model, body)
        own = await self._pictures.find_own(model, told, owner)
        return await asyncio.to_thread(self._pictures.accept, model, told, own)

    def _parse_large(self, model: Model, body: bytes) -> JSON:
        told = parse_json(body)
        # Some languages write a slash as two bytes, and base64 is full of them.
        other = len(body) - body.count(b"\\/") - sum(map(len, filter(is_data_uri, image_values(model, told))))
        if other > self._limits.budget.small:
            raise PayloadTooLarge(limit=f"{self._limits.budget.small // KIB} KiB + data URIs")
        return told

    async def status(self, http: HTTPRequest) -> Response:
        """Where the request stands."""
        return await self.status_of(http.path_params["request_id"], http.scope["gesso.owner"])

    async def status_of(self, request_id: str, owner: str) -> Response:
        """The same, for those who have no message at hand."""
        place = await self._queue.place(request_id, owner)
        return answer(self._wire.status(request_id, place.state, place.position))

    async def result(self, http: HTTPRequest) -> Response:
        """The output, the error, or the state so far."""
        request_id, language = http.path_params["request_id"], http.scope["gesso.language"]
        owner: str = http.scope["gesso.owner"]
        request = await self._queue.get(request_id, owner)
        with_cost, wait_s = flag(http.query_params, "include_cost"), wait(http.query_params)
        if wait_s and request.state not in FINAL:
            await self._live.lines.wait(request_id, owner, wait_s, http.receive)
            request = await self._queue.get(request_id, owner)
        return translated(self._results.body(request, language, with_cost=with_cost), language)

    async def cancel(self, http: HTTPRequest) -> Response:
        """Cancel the request if it still waits, an administrator whoever's it is; the body is not looked at."""
        request_id: str = http.path_params["request_id"]
        owner, is_admin = http.scope["gesso.owner"], http.scope["gesso.is_admin"]
        state = await self._queue.cancel(request_id, None if is_admin else owner)
        if is_admin:
            log.info("the administrator %s cancels request %s: it is %s", owner, request_id, state)
        return answer(self._wire.cancelled(request_id, state))
