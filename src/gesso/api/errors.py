"""The one place where an error becomes an HTTP answer."""

import logging
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.types import Scope

from gesso.core.errors import (
    BadRequest,
    BadToken,
    GessoError,
    InternalError,
    MethodNotAllowed,
    NoSuchRoute,
    RangeNotSatisfiable,
)
from gesso.core.model import Card
from gesso.core.texts import DEFAULT_LANGUAGE, Texts, negotiate
from gesso.core.wire import Wire

UNREAD = frozenset({401, 413, 415, 429, 503})
JSON_TYPE = "application/json"
encode = msgspec.json.Encoder().encode
log = logging.getLogger(__name__)


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(encode(body), status, headers, JSON_TYPE)


class Languages:
    """Which language a message asks for."""

    def __init__(self, texts: Texts) -> None:
        self._languages = texts.languages

    def of(self, scope: Scope) -> str:
        """`?lang=` beats `Accept-Language`; what is not spoken here is English."""
        for part in scope.get("query_string", b"").split(b"&"):
            if part.startswith(b"lang="):
                asked = part[5:].decode("ascii", "replace").lower()
                return asked if asked in self._languages else DEFAULT_LANGUAGE
        for name, value in scope["headers"]:
            if name == b"accept-language":
                return negotiate(value.decode("latin-1"), self._languages)
        return DEFAULT_LANGUAGE


def translated(body: Any, language: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that holds text in *language*."""
    told = {"Content-Language": language, "Vary": "Accept-Language", **(headers or {})}
    return answer(body, status=status, headers=told)


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


class Errors:
    """Turns errors into answers, in the language of whoever asked."""

    def __init__(self, wire: Wire, languages: Languages) -> None:
        self._wire = wire
        self._languages = languages

    def respond(self, scope: Scope, error: GessoError) -> Response:
        """The answer to *error*; the model of an invalid input lends it the schema's words."""
        language = self._languages.of(scope)
        card: Card | None = scope.get("gesso.card")
        headers: dict[str, str] = {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        if error.status in UNREAD and _has_body(scope):
            headers["Connection"] = "close"  # else all of a body that nobody wants would have to be taken in
        if isinstance(error, BadToken):
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, RangeNotSatisfiable):
            headers["Content-Range"] = f"bytes */{error.facts['size_bytes']}"
        return translated(self._wire.error(error, language, card), language, status=error.status, headers=headers)

    async def gesso(self, http: HTTPRequest, error: Exception) -> Response:
        """For Starlette: an error of ours."""
        assert isinstance(error, GessoError)  # noqa: S101 - Starlette chose us by its class
        return self.respond(http.scope, error)

    async def http(self, http: HTTPRequest, error: Exception) -> Response:
        """For Starlette: an error of the router's own."""
        assert isinstance(error, HTTPException)  # noqa: S101 - likewise
        kind = {404: NoSuchRoute, 405: MethodNotAllowed}.get(error.status_code, BadRequest)
        response = self.respond(http.scope, kind())
        response.headers.update(error.headers or {})
        return response

    async def unforeseen(self, http: HTTPRequest, error: Exception) -> Response:
        """For Starlette: our fault."""
        return self.broken(http.scope, error)

    def broken(self, scope: Scope, error: Exception) -> Response:
        """The answer to our fault; the trace is logged, not told."""
        log.error("%s %s broke", scope["method"], scope["path"], exc_info=error)
        return self.respond(scope, InternalError())
