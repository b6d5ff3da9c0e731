"""llms.txt: what this server is and how to use it, for a language model to read."""

import json
from collections.abc import Mapping
from importlib import resources

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route

from gesso import __version__
from gesso.agents.door import Door
from gesso.core.errors import UnknownModel
from gesso.core.model import Model
from gesso.core.wire import published

KIND = "text/markdown; charset=utf-8"
GENERAL, PAGE = (resources.files("gesso.agents").joinpath(name).read_text("utf-8") for name in ("llms.md", "model.md"))


def routes_of(door: Door, pages: "Pages") -> list[Route]:
    """The routes that are for agents."""
    return [
        Route("/mcp", door, include_in_schema=False),
        Route("/llms.txt", pages.general, methods=["GET"], include_in_schema=False),
        Route("/models/{model_id:path}/llms.txt", pages.model, methods=["GET"], include_in_schema=False),
    ]


class Pages:
    """`/llms.txt`, which holds nothing of this server's own, and one page a model, for whoever has a token."""

    def __init__(self, catalog: Mapping[str, Model], public_url: str) -> None:
        self._catalog = catalog
        self._public_url = public_url

    async def general(self, http: HTTPRequest) -> Response:  # noqa: ARG002 - every handler takes the message
        """How the API is used."""
        return Response(GENERAL.format(base=self._public_url, version=__version__), 200, media_type=KIND)

    async def model(self, http: HTTPRequest) -> Response:
        """How one model is used: its fields, an input that is accepted, and the calls."""
        model_id: str = http.path_params["model_id"]
        if model_id not in self._catalog:
            raise UnknownModel
        return Response(self.page(self._catalog[model_id], http.scope["gesso.language"]), 200, media_type=KIND)

    def page(self, model: Model, language: str) -> str:
        """The page of *model*."""
        card = model.card(language)
        schema = published(card.input_schema)
        required = schema.get("required", [])
        return PAGE.format(
            name=card.display_name,
            description=card.description,
            id=model.id,
            base=self._public_url,
            fields="\n".join(_field(name, each, name in required) for name, each in schema["properties"].items()),
            example=json.dumps(dict(model.example), ensure_ascii=False, indent=2),
            schema=json.dumps(schema, ensure_ascii=False, indent=2),
        )


def _field(name: str, schema: Mapping[str, object], is_required: bool) -> str:  # noqa: FBT001 - one use, one page up
    must = "required" if is_required else f"optional, default {json.dumps(schema.get('default'))}"
    return f"- `{name}` ({schema.get('type', 'any')}, {must}): {schema.get('description', schema.get('title', ''))}"
