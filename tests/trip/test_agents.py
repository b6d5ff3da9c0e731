"""What an agent meets: an MCP client that nobody here wrote drives the tools, over HTTP and over standard input."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from script import eventually
from server import ECHO, Server
from test_trip import data_uri

pytestmark = pytest.mark.anyio
TOOLS = [
    "cancel_model_request", "get_model", "get_model_request_result", "get_model_request_status",
    "list_model_categories", "list_models", "run_model",
]  # fmt: skip
SCRIPTED = "tests/scripted"


@asynccontextmanager
async def over_http(server: Server, token: str | None = None) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token or server.token}"}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(server: Server) -> AsyncIterator[Client]:
    started = StdioServerParameters(
        command=sys.executable, args=["-m", "gesso", "mcp"],
        env={"GESSO_TOKEN": server.token, "GESSO_BASE_URL": server.url},
    )  # fmt: skip
    async with Client(started) as client:
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a call answers."""
    answer = await client.call_tool(tool, arguments)
    return {**(answer.structured_content or {}), "is_error": answer.is_error}


@pytest.mark.parametrize("connected", [over_http, over_stdio])
async def test_an_agent_finds_a_model_runs_it_and_gets_its_picture(server: Server, connected: Any) -> None:
    async with connected(server) as client:
        tools = sorted(each.name for each in (await client.list_tools()).tools)
        models = await told(client, "list_models", search="echo")
        categories = await told(client, "list_model_categories")
        model = await told(client, "get_model", model_id=ECHO)
        made = await told(client, "run_model", model_id=ECHO, inputs={"image_urls": [data_uri()]})
        again = await told(client, "get_model_request_result", request_id=made["request_id"])
        status = await told(client, "get_model_request_status", request_id=made["request_id"])

    assert tools == TOOLS
    assert [each["model_id"] for each in models["models"]] == [ECHO]
    assert "image-to-image" in categories["categories"]
    assert "image_urls" in model["input_schema"]["properties"]
    assert (made["status"], status["status"], again["output"]["images"]) == (
        "succeeded", "completed", made["output_urls"],
    )  # fmt: skip
    assert server.fetch(made["output_urls"][0])[:4] == b"\x89PNG"


async def test_an_agent_submits_and_cancels_what_still_waits(server: Server) -> None:
    server.submit("gate:a")  # keeps the engine busy
    async with over_http(server) as client:
        made = await told(client, "run_model", model_id=SCRIPTED, inputs={"prompt": "n1"}, wait_for_completion=False)
        cancelled = await told(client, "cancel_model_request", request_id=made["request_id"])

    assert made["wait"] is False
    assert cancelled["outcome"] == "cancelled"


async def test_a_run_that_takes_longer_than_an_agent_waits_is_left_alone_and_named(server: Server) -> None:
    async with over_http(server) as client:
        inputs = {"prompt": "gate:a"}
        made = await told(client, "run_model", model_id=SCRIPTED, inputs=inputs, timeout_seconds=0.2)

    assert made["status"] in ("in_queue", "in_progress")
    assert not made["is_error"]
    assert server.row(made["request_id"])["state"] in ("in_queue", "in_progress")


async def test_I22_an_agent_that_waits_is_answered_when_the_server_stops(server: Server) -> None:
    async with over_http(server) as client:
        await client.list_tools()  # the client asks for them before it believes an answer, and would not be heard then
        waiting = asyncio.create_task(told(client, "run_model", model_id=SCRIPTED, inputs={"prompt": "gate:a"}))
        await eventually(server.rows)
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):  # the server's grace is longer
            made = await waiting

    assert made["note"] == "It goes on; ask for its result later."
    assert server.row(made["request_id"])["state"] in ("in_queue", "in_progress")


async def test_an_agent_is_told_which_field_is_wrong_and_what_would_be_right(server: Server) -> None:
    async with over_http(server) as client:
        refused = await told(client, "run_model", model_id=ECHO, inputs={})
        unknown = await told(client, "get_model", model_id="no/such")

    assert refused["is_error"]
    assert refused["detail"] == [{"loc": ["body", "image_urls"], "msg": "Field required.", "type": "missing"}]
    assert (unknown["is_error"], unknown["error_code"]) == (True, 400001)


async def test_the_tools_see_what_their_token_may_see(server: Server) -> None:
    async with httpx2.AsyncClient() as nobody:
        refused = await nobody.post(f"{server.url}/mcp", json={})
    request_id = server.submit("n1")
    foreign = other_token(server)
    async with over_http(server, foreign) as client:
        unseen = await told(client, "get_model_request_status", request_id=request_id)

    assert refused.status_code == 401
    assert (unseen["is_error"], unseen["error_code"]) == (True, 404001)


def test_the_general_page_is_for_everybody_and_a_models_page_for_token_holders(server: Server) -> None:
    def page(path: str, **headers: str) -> str:
        with urlopen(Request(server.url + path, headers=headers), timeout=10) as answer:
            assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
            return str(answer.read().decode())

    general = page("/llms.txt")
    with pytest.raises(HTTPError) as refused:
        page(f"/models/{ECHO}/llms.txt")
    model = page(f"/models/{ECHO}/llms.txt", Authorization=f"Bearer {server.token}")

    assert f"POST {server.url}/v1/models/MODEL_ID" in general
    assert refused.value.code == 401
    assert "- `image_urls` (array, required)" in model
    assert ECHO not in general


def other_token(server: Server) -> str:
    """A token of another owner."""
    arguments = [sys.executable, "-m", "gesso", "tokens", "create", "--owner", "bob", "--data-dir", server.data_dir]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()
