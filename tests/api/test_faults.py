"""When something of ours breaks, the answer has the shape of every error and tells nothing."""

import asyncio
import logging

import httpx2
import pytest
from served import EXAMPLE, SUBMIT, Serve, Served, picture

from gesso.store.workers import Workers

ROUTES = [("GET", "/v1/requests/{}/status"), ("GET", "/v1/requests/{}/result"), ("POST", "/v1/requests/{}/cancel")]


def told(answer: httpx2.Response) -> tuple[int, int]:
    body = answer.json()
    assert list(body) == ["code", "error_code", "error", "error_message", "detail"]
    assert not {"Traceback", "sqlite", ".py", "/", "Error:"} & set(body["error_message"].split())
    assert body["detail"] == []
    return answer.status_code, body["code"]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("POST", SUBMIT)])
async def test_without_its_database_the_service_is_unavailable(fresh: Served, method: str, path: str) -> None:
    request_id = await fresh.submit()
    fresh.parts.database.close()

    answer = await fresh.client.request(method, path.format(request_id), json=EXAMPLE)

    assert told(answer) == (503, 503001)
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_token_that_cannot_be_looked_up_is_no_bad_token(fresh: Served) -> None:
    fresh.parts.database.close()

    assert told(await fresh.client.get("/v1/balance")) == (503, 503001)


@pytest.mark.parametrize("column", ["state = 'lost', finished_at = NULL", "input = 'no json', pictures = 'none'"])
async def test_what_nobody_foresaw_is_an_internal_error_in_our_shape_and_only_the_log_knows_more(
    fresh: Served, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = await fresh.submit()
    fresh.change(f"UPDATE requests SET {column}")
    path = ROUTES["input" in column][1].format(request_id)

    with caplog.at_level(logging.ERROR):
        answer = await fresh.client.get(path, headers={"Accept-Language": "ja"})

    assert told(answer) == (500, 500001)
    assert answer.json()["error"] == "InternalError"
    assert answer.headers["content-language"] == "ja"
    assert any(record.exc_info for record in caplog.records)


async def test_a_full_or_broken_disk_is_told_as_unavailable_and_leaves_no_row(fresh: Served) -> None:
    for folder in (fresh.folder / "blobs").glob("??"):
        folder.rmdir()
        folder.write_bytes(b"")

    answer = await fresh.client.post("/v1/files", content=picture(), headers={"Content-Type": "image/png"})

    assert told(answer) == (503, 503001)
    assert fresh.rows() == (0, 0)


async def test_health_says_that_the_process_answers_whatever_else_is_broken(fresh: Served) -> None:
    fresh.parts.database.close()

    assert (await fresh.client_of(None).get("/healthz")).json() == {"status": "ok"}


async def test_readiness_names_the_check_that_fails(fresh: Served) -> None:
    nobody = fresh.client_of(None)

    async def ready() -> tuple[int, dict[str, str]]:
        answer = await nobody.get("/readyz")
        assert answer.json()["status"] == ("ready" if answer.status_code == 200 else "not_ready")
        return answer.status_code, answer.json()["checks"]

    good = {"database": "ok", "storage": "ok", "workers": "ok"}
    assert await ready() == (503, good | {"workers": "failing"})
    waiter = fresh.parts.database.wakeups.listen()
    try:
        assert await ready() == (503, good | {"workers": "failing"})  # it has not said that it lives
        await Workers(fresh.parts.database).beat(waiter.name, "here", {})
        assert await ready() == (200, good)
        fresh.change("UPDATE workers SET seen_at = seen_at - 16000000")  # it hangs: it was to say so every 5 seconds
        assert await ready() == (503, good | {"workers": "failing"})
        await Workers(fresh.parts.database).beat(waiter.name, "here", {})
        assert await ready() == (200, good)
    finally:
        waiter.close()
    assert await ready() == (503, good | {"workers": "failing"})  # it was killed


async def test_a_client_that_leaves_in_mid_body_leaves_nothing(fresh: Served) -> None:
    before = fresh.left()
    messages = iter([{"type": "http.request", "body": b'{"prompt"', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"host", b"api.example.org"), (b"authorization", f"Bearer {fresh.token}".encode())]
    scope = {"type": "http", "method": "POST", "path": SUBMIT, "raw_path": SUBMIT.encode(), "query_string": b"",
             "headers": [*headers, (b"content-type", b"application/json")], "root_path": "", "scheme": "http",
             "http_version": "1.1", "server": None, "client": None}  # fmt: skip
    await asyncio.wait_for(fresh.app(scope, receive, send), 5)

    assert sent[0]["status"] == 400
    assert fresh.left() == before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.org", 200),
        ("API.example.ORG:8443", 200),
        ("localhost:8787", 200),
        ("127.0.0.1", 200),
        ("192.168.7.9:80", 200),
        ("[::1]:8787", 200),
        ("inside.example", 200),
        ("evil.example", 400),
        ("api.example.org.evil.example", 400),
        ("evil.example:api.example.org", 400),
        ("api.example.org:port", 400),
        ("a/../v1?x#y", 400),
        ("user@api.example.org", 400),
        ("", 400),
        ("[::1", 400),
        ("127.0.0.1.evil.example", 400),
        ("2130706433", 400),
    ],
)
async def test_only_hosts_of_the_list_and_addresses_are_answered(serve_with: Serve, host: str, status: int) -> None:
    async with serve_with(allowed_hosts="Inside.example") as served:
        for path in ("/v1/balance", "/healthz"):
            answer = await served.client.get(path, headers={"Host": host})
            assert answer.status_code == status
            if status != 200:
                assert told(answer) == (400, 400000)


async def test_two_hosts_are_none_and_urls_in_answers_never_come_from_a_host(served: Served) -> None:
    two = await served.client.get("/healthz", headers=[("Host", "api.example.org"), ("Host", "api.example.org")])
    forwarded = {"Host": "127.0.0.1:1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    answer = await served.client.post(SUBMIT, json=EXAMPLE, headers=forwarded)

    assert told(two) == (400, 400000)
    assert all(
        url.startswith("https://api.example.org/") for name, url in answer.json().items() if name != "request_id"
    )
