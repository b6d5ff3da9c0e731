"""The catalogue, its prices and schemas, and the balance."""

from collections.abc import Mapping

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer, translated
from gesso.api.query import flag, number, one_of
from gesso.core import wire
from gesso.core.model import KINDS, Model
from gesso.core.wire import Wire

MOST, USUAL = 500, 100


class Models:
    """What is on offer."""

    def __init__(self, catalog: Mapping[str, Model], wire: Wire, *, balance_usd: float) -> None:
        self._catalog = catalog
        self._wire = wire
        self._balance_usd = balance_usd

    async def list(self, http: HTTPRequest) -> Response:
        """The models, sorted by id, filtered and paged by the query."""
        language: str = http.scope["gesso.language"]
        query = http.query_params
        limit = number(query, "limit", USUAL, least=1, most=MOST)
        offset = number(query, "offset", 0, least=0)
        kind = one_of(query, "kind", KINDS)
        found = [each for each in self._catalog.values() if _fits(each, language, query, kind)]
        with_schema = flag(query, "include_schema")
        page = [self._wire.model(each, language, with_schema=with_schema) for each in found[offset : offset + limit]]
        return translated(wire.models(page, total=len(found), limit=limit, offset=offset), language)

    async def get(self, http: HTTPRequest) -> Response:
        """One model with its schemas."""
        language: str = http.scope["gesso.language"]
        model = self._catalog[http.path_params["model_id"]]
        return translated(self._wire.model(model, language, with_schema=True), language)

    async def categories(self, http: HTTPRequest) -> Response:
        """The categories in use."""
        return answer(wire.categories(model.category for model in self._catalog.values()))

    async def balance(self, http: HTTPRequest) -> Response:
        """The nominal balance; clients check their token with it."""
        return answer(wire.balance(self._balance_usd))


def _fits(model: Model, language: str, query: Mapping[str, str], kind: str | None) -> bool:
    card = model.card(language)
    told = "\n".join((model.id, card.display_name, card.description)).lower()
    return (
        query.get("search", "").lower() in told
        and query.get("category", model.category) == model.category
        and (kind is None or kind == model.kind)
    )
