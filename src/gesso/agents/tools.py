"""The tools of the MCP server, by RunComfy's names. Each is one call of the public API, with the caller's own token."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from gesso import __version__
from gesso.client import AsyncClient
from gesso.client.downloads import output_urls
from gesso.core.errors import GessoError
from gesso.core.wire import JSON

NAME = "gesso"
INSTRUCTIONS = """Edits images with the models of this server. Call list_models, then get_model for the fields of one,
then run_model with `inputs` that obey its input_schema. Image fields take HTTPS URLs that the server can reach, or
`data:` URIs. What a run makes is in output_urls."""
LONGEST_WAIT_S, USUAL_WAIT_S, POLL_S = 600.0, 300.0, 0.5
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
CANCELS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

Connect = Callable[[Context], AbstractAsyncContextManager[AsyncClient]]
"""Opens a client that speaks for whoever called the tool."""
ModelId = Annotated[str, Field(description="Such as wan-ai/wan-2-6/image-to-image; list_models tells them.")]
RequestId = Annotated[str, Field(description="What run_model answered as request_id.")]


class Tools:
    """The seven tools.

    Args:
        connect: opens the client of one call.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._waits: set[asyncio.Timeout] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Send those home who wait for pictures: the server stops, and their requests go on."""
        self._is_stopping = True
        for wait in self._waits:
            wait.reschedule(0)

    async def list_models(
        self, context: Context, search: str = "", category: str = "", limit: int = 100, offset: int = 0
    ) -> CallToolResult:
        """List the models of this server: id, name, what it does, its fields and its price."""
        query = {"search": search or None, "category": category or None, "limit": limit, "offset": offset}
        async with self._answering(context) as told:
            return told.result(await told.client.models(**query))

    async def list_model_categories(self, context: Context) -> CallToolResult:
        """List the categories that models belong to."""
        async with self._answering(context) as told:
            return told.result({"categories": list(await told.client.categories())})

    async def get_model(self, context: Context, model_id: ModelId) -> CallToolResult:
        """Tell everything about one model, with the JSON Schema of its inputs."""
        async with self._answering(context) as told:
            return told.result(await told.client.model(model_id))

    async def run_model(
        self,
        context: Context,
        model_id: ModelId,
        inputs: Annotated[JSON, Field(description="Obeys the model's input_schema.")],
        wait_for_completion: bool = True,  # noqa: FBT001, FBT002 - the name and default that agents know
        timeout_seconds: float = USUAL_WAIT_S,
    ) -> CallToolResult:
        """Run a model, and wait for its pictures. Past timeout_seconds it goes on: ask for its result later."""
        async with self._answering(context) as told:
            handle = await told.client.submit(model_id, inputs)
            if not wait_for_completion:
                return told.result({"request_id": handle.request_id, "wait": False})
            try:
                async with self._waiting(min(timeout_seconds, LONGEST_WAIT_S)):
                    return told.result(await handle.wait(interval=POLL_S))
            except TimeoutError:
                return told.result({**await handle.status(), "note": "It goes on; ask for its result later."})

    async def get_model_request_status(self, context: Context, request_id: RequestId) -> CallToolResult:
        """Tell whether a request waits (and at which place), runs, or has ended."""
        async with self._answering(context) as told:
            return told.result(await told.client.handle(request_id).status())

    async def get_model_request_result(self, context: Context, request_id: RequestId) -> CallToolResult:
        """Tell what a request made, or what it failed of."""
        async with self._answering(context) as told:
            return told.result(await told.client.handle(request_id).outcome())

    async def cancel_model_request(self, context: Context, request_id: RequestId) -> CallToolResult:
        """Cancel a request that still waits. One that runs goes on: outcome is then not_cancellable."""
        async with self._answering(context) as told:
            return told.result(await told.client.handle(request_id).cancel())

    @asynccontextmanager
    async def _waiting(self, longest_s: float) -> AsyncIterator[None]:
        async with asyncio.timeout(0 if self._is_stopping else longest_s) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    @asynccontextmanager
    async def _answering(self, context: Context) -> AsyncIterator["_Answer"]:
        async with self._connect(context) as client:
            yield _Answer(client)


class _Answer:
    """One call's client, and how its answer is told: JSON as text and as structure, the pictures' URLs beside it."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    def result(self, body: JSON) -> CallToolResult:
        urls = output_urls(body)
        told = {**body, "output_urls": urls} if urls else body
        return CallToolResult(content=[_text(told)], structured_content=told, is_error=body.get("status") == "failed")


def make_server(tools: Tools) -> MCPServer[Any]:
    """The MCP server with its tools; what a call fails of is told as the API's own words."""
    server: MCPServer[Any] = MCPServer(NAME, version=__version__, instructions=INSTRUCTIONS)
    for tool, kind in (
        (tools.list_models, READS),
        (tools.list_model_categories, READS),
        (tools.get_model, READS),
        (tools.run_model, WRITES),
        (tools.get_model_request_status, READS),
        (tools.get_model_request_result, READS),
        (tools.cancel_model_request, CANCELS),
    ):
        server.add_tool(_in_our_words(tool), annotations=kind, structured_output=False)
    return server


def _in_our_words(tool: Callable[..., Any]) -> Callable[..., Any]:
    """*tool*, with errors as results that say what would be right."""

    @wraps(tool)
    async def told(*args: Any, **given: Any) -> CallToolResult:
        try:
            answer: CallToolResult = await tool(*args, **given)
            return answer
        except GessoError as error:
            problems = [{"loc": each.loc, "msg": each.facts.get("msg"), "type": each.type} for each in error.problems]
            body = {"error": error.name, "error_code": error.code, "error_message": str(error), "detail": problems}
            return CallToolResult(content=[_text(body)], structured_content=body, is_error=True)

    return told


def _text(body: JSON) -> TextContent:
    return TextContent(type="text", text=json.dumps(body, ensure_ascii=False))
