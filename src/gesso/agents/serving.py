"""The MCP server on its two transports: messages over HTTP, and standard input and output."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from gesso.agents.door import LARGEST_MESSAGE
from gesso.agents.tools import Tools, make_server
from gesso.client import AsyncClient


def over_http(api: ASGIApp, public_url: str) -> tuple[Tools, MCPServer[Any], ASGIApp]:
    """The tools, their server, and the application that serves `/mcp` while the server's session manager runs.

    Each call of a tool goes to *api* as its caller, in this process and without a network. There are no sessions, so
    that any API process answers any message.
    """

    @asynccontextmanager
    async def connect(context: Context) -> AsyncIterator[AsyncClient]:
        http: Any = context.request_context.request
        token = http.headers["authorization"].partition(" ")[2].strip()
        async with AsyncClient(public_url, token, transport=httpx2.ASGITransport(api)) as client:
            yield client

    logging.getLogger("mcp").setLevel(logging.WARNING)
    tools = Tools(connect)
    server = make_server(tools)
    app = server.streamable_http_app(
        streamable_http_path="/mcp",
        json_response=True,
        stateless_http=True,
        max_request_body_size=LARGEST_MESSAGE,
        # The gate in front has judged the Host, and no browser of another origin holds a token.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return tools, server, app


def run_stdio(base_url: str | None, token: str | None) -> None:
    """Serve the tools on standard input and output until it ends; the model API may be any that speaks the contract."""

    @asynccontextmanager
    async def connect(_: Context) -> AsyncIterator[AsyncClient]:
        async with AsyncClient(base_url, token) as client:
            yield client

    make_server(Tools(connect)).run("stdio")
