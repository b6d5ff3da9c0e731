"""`GET /v1/requests`: an owner's own requests, newest first, page by page."""

import base64
import binascii

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer
from gesso.api.query import Query, number, one_of, problem
from gesso.core import wire
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
        """A page, filtered by the query."""
        query = http.query_params
        limit = number(query, "limit", USUAL, least=1, most=MOST)
        word = one_of(query, "status", tuple(State))
        found = await self._lists.page(
            http.scope["gesso.owner"],
            limit=limit + 1,
            before=_seq(query),
            state=State(word) if word else None,
            model_id=query.get("model_id"),
        )
        page = found[:limit]
        cursor = _cursor(page[-1]) if len(found) > limit else None
        entries = (wire.entry(each.id, each.model_id, each.state, each.created_at, each.finished_at) for each in page)
        return answer(wire.history(entries, cursor))


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
