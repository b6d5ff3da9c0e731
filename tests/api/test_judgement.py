"""In which order a message is judged, and how a route answers what it was not made for."""

from typing import Any

import httpx2
import pytest
from served import EXAMPLE, SUBMIT, Serve, Served

JSON = {"Content-Type": "application/json"}
TOO_LONG = {"prompt": "a", "x": "y" * 300_000}


def told(answer: httpx2.Response) -> tuple[int, int]:
    """HTTP status and code, in the shape of every error."""
    body = answer.json()
    assert list(body) == ["code", "error_code", "error", "error_message", "detail"]
    assert body["code"] == body["error_code"]
    assert isinstance(body["error"], str)
    assert isinstance(body["detail"], list)
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["code"]


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ({"headers": {"Host": "evil.example"}}, (400, 400000)),
        ({"headers": {"Authorization": "Bearer no"}}, (401, 400004)),
        ({"method": "PUT"}, (405, 405000)),
        ({"url": "/v1/models/no/model"}, (404, 400001)),
        ({"headers": {"Content-Type": "text/plain"}}, (415, 415001)),
        ({"content": b'{"x": "' + b"y" * 300_000 + b'"}'}, (413, 413001)),
        ({"content": b"no json"}, (400, 400000)),
        ({"content": b"{}"}, (422, 422001)),
    ],
    ids=["host", "token", "method", "model", "type", "length", "json", "schema"],
)
async def test_of_all_that_is_wrong_the_first_in_the_order_of_judgement_is_told(
    served: Served, fault: dict[str, Any], verdict: tuple[int, int]
) -> None:
    """Each row adds the fault to everything that is judged after it."""
    later = [
        {"content": b"{}"},
        {"content": b"no json"},
        {"content": b"no json" + b"y" * 300_000},
        {"headers": {"Content-Type": "text/plain"}},
        {"url": "/v1/models/no/model"},
        {"method": "PUT"},
        {"headers": {"Authorization": "Bearer no"}},
        {"headers": {"Host": "evil.example"}},
    ]
    order = [422, 400, 413, 415, 404, 405, 401, 400]
    place = len(order) - 1 if verdict == (400, 400000) and "headers" in fault else order.index(verdict[0])
    message: dict[str, Any] = {"method": "POST", "url": SUBMIT, "headers": dict(JSON)}
    for each in [*later[:place], fault]:
        headers = message["headers"] | each.get("headers", {})
        message |= each | {"headers": headers}

    assert told(await served.client.request(**message)) == verdict


async def test_a_body_with_a_bad_token_is_not_read(served: Served) -> None:
    async def never() -> Any:
        raise AssertionError("read")
        yield b""

    answer = await served.client_of("no").post(SUBMIT, content=never(), headers=JSON)

    assert told(answer) == (401, 400004)


@pytest.mark.parametrize(
    "model", ["no/model", "wan-ai", "WAN-AI/wan-2-6/image-to-image", "wan-ai/wan-2-6", "%00/x", "%ff/x"]
)
async def test_an_unknown_model_is_not_found_before_its_body_is_looked_at(served: Served, model: str) -> None:
    for method in ("GET", "POST"):
        answer = await served.client.request(method, f"/v1/models/{model}", content=b"no json")
        assert told(answer) == (404, 400001)


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/models/",
        "/v1//models",
        "//v1/models",
        f"{SUBMIT}/",
        f"/v1//models/{SUBMIT[11:]}",
        "/v1/models/categories/",
        "/v1/requests/",
        "/v1/balance/",
        "/v1/files/",
        "/v1/openapi.json/",
        "/healthz/",
        "/files/a/b/",
        "/files//b",
        "/outputs/x",
        "/v1/requests/x/status/",
        "/v1/requests/x//result",
    ],
)
async def test_no_route_redirects_not_even_for_a_slash(served: Served, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await served.client.request(method, path)
        assert answer.status_code in (404, 405), (method, path)
        told(answer)
        assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/requests/x/cancel", {"POST"}),
        ("POST", "/v1/requests/x/status", {"GET", "HEAD"}),
        ("POST", "/v1/requests/x/result", {"GET", "HEAD"}),
        ("DELETE", "/v1/requests/x/status", {"GET", "HEAD"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("PUT", SUBMIT, {"GET", "HEAD", "POST"}),
        ("PATCH", "/v1/models/no/model", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/files", {"POST"}),
        ("POST", "/v1/balance", {"GET", "HEAD"}),
        ("OPTIONS", "/v1/balance", {"GET", "HEAD"}),
        ("TRACE", "/v1/requests/x/status", {"GET", "HEAD"}),
        ("PROPFIND", "/v1/requests/x/status", {"GET", "HEAD"}),
        ("get", "/v1/requests/x/status", {"GET", "HEAD"}),
        ("POST", "/files/a/b", {"GET", "HEAD"}),
        ("DELETE", "/files/a/b", {"GET", "HEAD"}),
        ("PUT", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_which_are_allowed(
    served: Served, method: str, path: str, allowed: set[str]
) -> None:
    answer = await served.client.send(served.client.build_request(method, path))

    if method == "get":  # the client library may write it in capitals
        assert answer.status_code in (404, 405)
        return
    assert told(answer) == (405, 405000)
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_an_override_header_changes_no_method(served: Served) -> None:
    answer = await served.client.post("/v1/requests/x/status", headers={"X-HTTP-Method-Override": "GET"})

    assert told(answer) == (405, 405000)


async def test_head_is_answered_like_get(served: Served) -> None:
    request_id = await served.submit()

    for path in (
        f"/v1/requests/{request_id}/status",
        f"/v1/requests/{request_id}/result",
        "/v1/models",
        SUBMIT,
        "/healthz",
    ):
        head, get = await served.client.head(path), await served.client.get(path)
        assert (head.status_code, head.headers) == (get.status_code, get.headers), path


@pytest.mark.parametrize(
    "type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/jsonp", "application/json; charset=utf-16", "application/json; charset=latin-1", "text/json"],
)  # fmt: skip
async def test_a_submit_must_be_declared_as_json_in_utf_8(served: Served, type: str | None) -> None:
    headers = {} if type is None else {"Content-Type": type}
    answer = await served.client.post(SUBMIT, content=b"{}", headers=headers)

    assert told(answer) == (415, 415001)


@pytest.mark.parametrize("type", ["application/json", 'Application/JSON;Charset="UTF-8"', "application/json ; x=y"])
async def test_the_type_may_be_in_any_case_and_have_parameters(served: Served, type: str) -> None:
    answer = await served.client.post(SUBMIT, content=b"{}", headers={"Content-Type": type})

    assert told(answer) == (422, 422001)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"1", b"\xef\xbb\xbf{}", b"{} x", b"{}{}", b"{'a': 1}", b'{"a": NaN}',
     b'{"a": 1e400}', b'{"a": "\xff"}', b'{"a": "\\ud800}', b'{"a": "\\ud8"}"}',
     b"[" * 100_000, b'{"a":' * 50_000,
     '{"a": 1}'.encode("utf-16")],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
async def test_a_body_that_is_not_one_json_object_in_utf_8_is_a_bad_request(served: Served, body: bytes) -> None:
    assert told(await served.client.post(SUBMIT, content=body, headers=JSON)) == (400, 400000)


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        (r"\ud800", 422),
        (r"\uDFFFx", 422),
        (r"\ud83d", 422),
        (r"\ude00\ud83d", 422),
        (r"\ud83d\ude00\ud83d", 422),
        (r"\u0000", 422),
        (r"\ud83d\ude00", 200),
        (r"\\ud800", 200),
        (r"\\\\ud800", 200),
    ],
)
async def test_half_of_a_surrogate_pair_is_the_problem_of_its_field(served: Served, prompt: str, status: int) -> None:
    content = f'{{"prompt": "{prompt}", "image_urls": ["https://images.example/a.png"]}}'

    answer = await served.client.post(SUBMIT, content=content, headers=JSON)

    assert answer.status_code == status, answer.text
    if status == 422:
        assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
            (["body", "prompt"], "string_characters")
        ]


async def test_every_problem_of_a_body_is_told_in_schema_order(served: Served) -> None:
    answer = await served.client.post(SUBMIT, json={"seed": -1, "prompt_extend": 1, "image_size": "x", "prompt": ""})

    assert told(answer) == (422, 422001)
    assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
        (["body", "prompt"], "blank"),
        (["body", "image_urls"], "missing"),
        (["body", "image_size"], "enum"),
        (["body", "seed"], "greater_than_equal"),
        (["body", "prompt_extend"], "bool_type"),
    ]


async def test_a_misspelt_option_of_the_query_is_told_by_its_name_and_an_unknown_one_is_ignored(served: Served) -> None:
    wrong = await served.client.post(f"{SUBMIT}?dry_run=maybe", json=EXAMPLE)
    unknown = await served.client.post(f"{SUBMIT}?colour=red&=&&%zz", json=EXAMPLE)

    assert told(wrong) == (422, 422001)
    assert [(each["loc"], each["type"]) for each in wrong.json()["detail"]] == [(["query", "dry_run"], "bool_type")]
    assert unknown.status_code == 200


async def test_a_message_that_is_refused_leaves_nothing_behind(fresh: Served) -> None:
    before = fresh.left()

    for body in (b"", b"{}", b'{"prompt": "a", "image_urls": ["https://127.0.0.1/"]}', b"x" * 300_000):
        assert (await fresh.client.post(SUBMIT, content=body, headers=JSON)).status_code >= 400

    assert fresh.left() == before


async def test_an_owner_who_asks_too_often_is_told_when_to_come_back_but_after_the_model(serve_with: Serve) -> None:
    async with serve_with(submits_per_minute=1) as served:
        first, second = [await served.client.post(SUBMIT, json=EXAMPLE) for _ in range(2)]
        unknown = await served.client.post("/v1/models/no/model", json=EXAMPLE)
        other = await (await served.client_for("bob")).post(SUBMIT, json=EXAMPLE)

    assert first.status_code == 200
    assert told(second) == (429, 429001)
    assert 1 <= int(second.headers["retry-after"]) <= 60
    assert told(unknown) == (404, 400001)
    assert other.status_code == 200
