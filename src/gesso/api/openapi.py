"""The API described by itself: one operation for each model, drawn from the schemas that judge its bodies."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso import __version__
from gesso.api.errors import translated
from gesso.api.options import LONGEST_WEBHOOK
from gesso.core.model import Model
from gesso.core.states import State
from gesso.core.wire import published

JSON = dict[str, Any]
TEXT: JSON = {"type": "string"}
NAMES: JSON = {"type": "array", "items": TEXT}
URL: JSON = {"type": "string", "format": "uri"}
STATES = [str(state) for state in State]
RESULTS = ["in_queue", "in_progress", "succeeded", "failed", "cancelled"]


class OpenAPI:
    """`GET /v1/openapi.json`, version 3.1."""

    def __init__(self, catalog: Mapping[str, Model], public_url: str) -> None:
        self._catalog = catalog
        self._public_url = public_url

    async def serve(self, http: HTTPRequest) -> Response:
        """The description, with the models' texts in the caller's language."""
        language: str = http.scope["gesso.language"]
        return translated(self.describe(language), language)

    def describe(self, language: str) -> JSON:
        """The whole document."""
        submits = {f"/v1/models/{model.id}": _submit(model, language) for model in self._catalog.values()}
        return {
            "openapi": "3.1.0",
            "info": {"title": "Gesso", "version": __version__, "description": "A model API for image editing."},
            "servers": [{"url": self._public_url}],
            "security": [{"bearer": []}],
            "paths": {**submits, **_fixed()},
            "components": {
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "schemas": _schemas(),
                "responses": {"Error": _json("An error.", {"$ref": "#/components/schemas/Error"})},
            },
        }


def _submit(model: Model, language: str) -> JSON:
    card = model.card(language)
    schema = published(card.input_schema)
    return {
        "get": _operation(f"get {model.id}", f"{card.display_name}: price and schemas", _ref("Model")),
        "post": {
            **_operation(
                f"submit {model.id}",
                card.display_name,
                _ref("Submitted"),
                card.description,
                parameters=_parameters("query", _OPTIONS) + _parameters("header", _OPTION_HEADERS),
            ),
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "example": dict(model.example)}},
            },
        },
    }


def _fixed() -> JSON:
    request = _parameters("path", {"request_id": TEXT})
    result = request + _parameters("query", {"include_cost": _FLAG, "wait": _SECONDS})
    events = request + _parameters("query", {"previews": {"type": "boolean", "default": True}})
    events += _parameters("header", {"Last-Event-ID": TEXT})
    file = _parameters("path", {"key": TEXT, "name": TEXT})
    signed = _parameters("query", {"expires": TEXT, "signature": TEXT})
    listed, own = _parameters("query", _LIST_QUERY), _parameters("query", _HISTORY_QUERY)
    return {
        "/v1/models": {"get": _operation("models", "The catalogue", _ref("Models"), parameters=listed)},
        "/v1/models/categories": {"get": _operation("categories", "The categories in use", {"type": "object"})},
        "/v1/requests": {
            "get": _operation("requests", "Own requests, newest first", _ref("Requests"), parameters=own)
        },
        "/v1/requests/{request_id}/events": {
            "get": _streamed(_operation("events", "Live events, to the result", None, parameters=events))
        },
        "/v1/requests/{request_id}/status": {
            "get": _operation("status", "Its state", _ref("Status"), parameters=request)
        },
        "/v1/requests/{request_id}/result": {
            "get": _operation("result", "Output, error, or state so far", _ref("Result"), parameters=result)
        },
        "/v1/requests/{request_id}/cancel": {
            "post": _operation("cancel", "Cancel while it waits", _ref("Cancelled"), parameters=request)
        },
        "/v1/files": {
            "post": {
                **_operation("upload", "Upload a picture", _ref("File")),
                "requestBody": {"required": True, "content": _UPLOADS},
            }
        },
        "/v1/balance": {"get": _operation("balance", "The balance", _ref("Balance"))},
        "/prod/v2/balance": {"get": _operation("balance v2", "The balance", _ref("Balance"))},
        "/v1/openapi.json": {"get": _operation("openapi", "This document", {"type": "object"})},
        "/files/{key}/{name}": {"get": _operation("file", "A file's bytes", None, parameters=file + signed) | _OPEN},
        "/healthz": {"get": {**_operation("healthz", "The process answers", {"type": "object"}), **_OPEN}},
        "/readyz": {"get": {**_operation("readyz", "The service is ready", {"type": "object"}), **_OPEN}},
    }  # fmt: skip


_OPEN: JSON = {"security": []}
_FLAG: JSON = {"type": "boolean", "default": False}
_SECONDS: JSON = {"type": "integer", "minimum": 0, "default": 0}
_OPTIONS: Mapping[str, JSON] = {
    "dry_run": _FLAG,
    "priority": {"enum": ["low", "normal", "high"], "default": "normal"},
    "max_queue_seconds": {"type": "integer", "minimum": 1, "maximum": 86400},
    "webhook": {**URL, "maxLength": LONGEST_WEBHOOK},
    "webhook_intermediate_status": _FLAG,
}
_OPTION_HEADERS: Mapping[str, JSON] = {"Prefer": TEXT, "Idempotency-Key": {"type": "string", "maxLength": 255}}
_HISTORY_QUERY: Mapping[str, JSON] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "cursor": TEXT,
    "status": {"enum": STATES},
    "model_id": TEXT,
    "all": _FLAG,
}
_LIST_QUERY: Mapping[str, JSON] = {
    "search": TEXT,
    "category": TEXT,
    "kind": {"enum": ["model", "workflow", "inference"]},
    "include_schema": _FLAG,
    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
    "offset": {"type": "integer", "minimum": 0, "default": 0},
}
_TOLD: Mapping[str, str] = {
    "all": "Everybody's requests, each with its owner; 403 unless the token is an administrator's.",
    "category": "Only models of this category.",
    "cursor": "The next_cursor of the page before.",
    "dry_run": "Judge everything, pictures of URLs included, and keep nothing.",
    "expires": "Part of the signed URL.",
    "Idempotency-Key": "The same key and input within a day give the first answer again.",
    "include_cost": "Tell the cost of an ended request.",
    "include_schema": "Tell both schemas of each model.",
    "key": "Part of the signed URL.",
    "kind": "Only models of this kind.",
    "Last-Event-ID": "The id of the last event that was seen: only what came after it is told.",
    "limit": "How many at most.",
    "max_queue_seconds": "Not started after so many seconds, the request ends cancelled and never runs.",
    "model_id": "Only requests of this model.",
    "name": "Part of the signed URL.",
    "offset": "How many to skip.",
    "Prefer": "wait=N: hold the answer until the request has ended, or N seconds are over (1 to 60).",
    "previews": "Whether previews are told.",
    "priority": "How urgent it is, up to what the token may ask for.",
    "request_id": "As the submit answered.",
    "search": "Only models with this in their id, name or description.",
    "signature": "Part of the signed URL.",
    "status": "Only requests in this state.",
    "wait": "Hold the answer until the request has ended, or so many seconds are over (at most 60).",
    "webhook": "Told of the end by a signed POST of the /result body.",
    "webhook_intermediate_status": "Tell the webhook of the start too.",
}
_BYTES: JSON = {"schema": {"type": "string", "format": "binary"}}
_FORM: JSON = {"type": "object", "required": ["file"], "properties": {"file": _BYTES["schema"]}}
_UPLOADS: JSON = {"multipart/form-data": {"schema": _FORM}, "application/octet-stream": _BYTES, "image/*": _BYTES}


def _operation(
    id: str, summary: str, schema: JSON | None, description: str = "", *, parameters: list[JSON] | None = None
) -> JSON:
    answered = _json("As asked.", schema) if schema else {"description": "The bytes."}
    told: JSON = {"operationId": id.replace("/", " ").title().replace(" ", ""), "summary": summary}
    told |= {"description": description} if description else {}
    told |= {"parameters": parameters} if parameters else {}
    return {**told, "responses": {"200": answered, "default": {"$ref": "#/components/responses/Error"}}}


def _streamed(operation: JSON) -> JSON:
    """The same, answered by server-sent events: `status`, `progress`, `preview`, and `result` at the end."""
    stream = {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": TEXT}}}
    return {**operation, "responses": operation["responses"] | {"200": stream}}


def _parameters(place: str, schemas: Mapping[str, JSON]) -> list[JSON]:
    return [
        {"name": name, "in": place, "required": place == "path", "description": _TOLD[name], "schema": schema}
        for name, schema in schemas.items()
    ]


def _json(description: str, schema: JSON) -> JSON:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, JSON], optional: Mapping[str, JSON] | None = None) -> JSON:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _schemas() -> JSON:
    problem = _object({"loc": {"type": "array", "items": {"type": ["string", "integer"]}}, "msg": TEXT, "type": TEXT})
    detail = {"type": "array", "items": problem}
    number: JSON = {"type": "number", "minimum": 0}
    integer: JSON = {"type": "integer", "minimum": 0}
    urls = {"type": "array", "items": URL}
    return {
        "Submitted": _object({"request_id": TEXT, "status_url": URL, "result_url": URL, "cancel_url": URL}),
        "Status": _object(
            {"request_id": TEXT, "status": {"enum": STATES}, "status_url": URL, "result_url": URL},
            {"queue_position": integer},
        ),
        "Result": _object(
            {"request_id": TEXT, "model_id": TEXT, "status": {"enum": RESULTS}, "created_at": TEXT},
            {"finished_at": TEXT, "output": _object({}, {"image": URL, "images": urls, "video": URL, "videos": urls}),
             "error": _object({"code": integer, "message": TEXT}, {"detail": detail}), "cost": number,
             "metadata": {"type": "object"}},
        ),
        "Requests": _object(
            {"requests": {"type": "array", "items": _LISTED}}, {"next_cursor": TEXT, "admin": {"const": True}}
        ),
        "Cancelled": _object(
            {"request_id": TEXT, "status": {"enum": STATES}, "outcome": {"enum": ["cancelled", "not_cancellable"]}}
        ),
        "Error": _object(
            {"code": integer, "error_code": integer, "error": TEXT, "error_message": TEXT, "detail": detail}
        ),
        "Model": _MODEL,
        "Models": _object(
            {"models": {"type": "array", "items": _ref("Model")}, "total": integer, "limit": integer, "offset": integer}
        ),
        "File": _object(
            {"file_id": TEXT, "url": URL, "content_type": TEXT, "size_bytes": integer, "width": integer,
             "height": integer, "expires_at": TEXT}
        ),
        "Balance": _object({"balance_usd": number, "balance_microdollars": integer, "currency": TEXT}),
    }  # fmt: skip


_LISTED = _object(
    {"request_id": TEXT, "model_id": TEXT, "status": {"enum": STATES}, "created_at": TEXT},
    {"owner": TEXT, "finished_at": TEXT},
)
_MODEL = _object(
    {"model_id": TEXT, "display_name": TEXT, "description": TEXT, "categories": NAMES, "kind": TEXT,
     "base_price_usd": {"type": "number", "minimum": 0}, "price_unit": {"enum": ["output", "second"]},
     "pricing_note": TEXT,
     "model_url": URL, "inputs": NAMES, "required_inputs": NAMES},
    {"input_schema": {"type": "object"}, "output_schema": {"type": "object"}},
)  # fmt: skip
