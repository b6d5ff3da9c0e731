"""`GET /v1/requests`: own requests, or everybody's for administrators; newest first, page by page."""

import base64
import binascii

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer
from gesso.api.query import Query, flag, number, one_of, problem
from gesso.core import wire
from gesso.core.errors import AdminsOnly
from gesso.core.states import State
from gesso.store.history import NEWEST, Entry
from gesso.store.history import History as Lists

USUAL, MOST = 20, 100
CURSOR_BYTES = 8


class History:
    """Lists what was asked for."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    async def serve(self, http: HTTPRequest) -> Response:
        """A page, filtered by the query.

        Raises:
            AdminsOnly: when everybody's are asked for without an administrator's token.
        """
        query, is_admin = http.query_params, bool(http.scope["gesso.is_admin"])
        of_all = flag(query, "all")
        if of_all and not is_admin:
            raise AdminsOnly
        limit = number(query, "limit", USUAL, least=1, most=MOST)
        found = await self._found(query, None if of_all else http.scope["gesso.owner"], limit + 1)
        cursor = _cursor(found[limit - 1]) if len(found) > limit else None
        entries = (_told(each, with_owner=of_all) for each in found[:limit])
        return answer(wire.history(entries, cursor, is_admin=is_admin))

    async def _found(self, query: Query, owner: str | None, limit: int) -> list[Entry]:
        word, model_id = one_of(query, "status", tuple(State)), query.get("model_id")
        state, before = State(word) if word else None, _seq(query)
        if owner is not None:
            return await self._lists.page(owner, limit=limit, before=before, state=state, model_id=model_id)
        if model_id is not None:
            raise problem("model_id", "not_with_all")
        return await self._lists.page_of_all(limit=limit, before=before, state=state)


def _told(each: Entry, *, with_owner: bool) -> wire.JSON:
    owner = each.owner if with_owner else None
    return wire.entry(each.id, each.model_id, each.state, each.created_at, each.finished_at, owner)


def _cursor(last: Entry) -> str:
    """Where the page after *last* begins, in letters that say nothing to clients."""
    return base64.urlsafe_b64encode(last.seq.to_bytes(CURSOR_BYTES, "big")).decode().rstrip("=")


def _seq(query: Query) -> int:
    """What the query's cursor says.

    Raises:
        InvalidInput: when we did not make it.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return NEWEST
    try:
        data = base64.b64decode(cursor + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    seq = int.from_bytes(data, "big")
    if len(data) != CURSOR_BYTES or not 0 < seq <= NEWEST:
        raise problem("cursor", "cursor")
    return seq
