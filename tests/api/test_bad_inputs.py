"""The list of bad and boundary inputs, as far as one message tells: each gets its right answer and leaves nothing.

The list lies beside the repository; where it does not, these tests are skipped.
"""

import base64
import functools
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from served import EXAMPLE, SUBMIT, Served

LIST = Path(__file__).parents[3] / "shared" / "hostile" / "bad_inputs.json"
AREAS = ("auth", "path", "json", "field", "image_urls", "ssrf")
PHASES = ("http", "submit")
PATH = "/v1/requests/$ID/status"
KIB, MIB = 2**10, 2**20

# Rows that are told in words only, as variants of ours.
BY_HAND: dict[str, list[dict[str, Any]]] = {
    "A10": [
        {"path": f"{SUBMIT}?{name}=$TOKEN", "headers": {"Authorization": None}} for name in ("token", "access_token")
    ],
    "A11": [{"headers": {"Authorization": "Bearer " + "a" * 8192}}],
    "A22": [{"headers": {"Authorization": "Bearer no"}, "path": "/v1/models/no/model", "body": "no json"}],
    "P14": [{"method": "GET", "path": f"/v1/requests/{'a' * 10_000}/status"}],
    "P17": [{"method": method, "path": PATH} for method in ("TRACE", "CONNECT", "PROPFIND", "get")],
    "P18": [{"path": PATH, "headers": {"X-HTTP-Method-Override": "GET"}}],
    "P20": [
        {"method": "OPTIONS", "path": SUBMIT, "headers": {"Authorization": None, "Origin": "https://evil.example"}}
    ],
    "J10": [{"body": json.dumps(EXAMPLE)[:-1] + ', "seed": ' + "9" * 5000 + "}"}],
    "J12": [{"body": "[" * 100_000 + "]" * 100_000}],
    "J31": [{"set": {f"k{number}": 0 for number in range(20_000)}}],
    "J36": [{"set": {"x": "data:image/png;base64," + "A" * MIB}}],
    "L46": [{"headers": {"Content-Length": "67108865"}}],
    "L47": [{"set": {"image_urls": ["data:image/png;base64," + "A" * (9 * MIB)] * 3, "seed": -1}}],
}
# Rows that one message cannot tell, and where their law is kept instead.
ELSEWHERE = {
    "A05": "needs a token that is revoked meanwhile: test_auth",
    "A06": "needs a token that has expired: test_auth",
    "A07": "needs two headers of one name: test_auth",
    "A16": "needs the database's own hash: test_auth",
    "A19": "needs 20 000 messages: test_auth, with a lower limit",
    "A20": "there is no worker's or metrics' credential",
    "J23": "needs a chunked body: test_bodies",
}


def rows() -> list[Any]:
    """The rows that are for this place, each as a parameter."""
    if not LIST.exists():
        reason = "the list of bad inputs does not lie beside the repository"
        return [pytest.param({}, id="absent", marks=pytest.mark.skip(reason=reason))]
    mine = [row for row in json.loads(LIST.read_text("utf-8")) if row["area"] in AREAS and row["phase"] in PHASES]
    return [
        pytest.param(row, id=row["id"], marks=[pytest.mark.skip(reason=reason)] if reason else [])
        for row in mine
        for reason in [ELSEWHERE.get(row["id"])]
    ]


def message(variant: dict[str, Any], token: str, id: str) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body of one variant."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    for name, value in variant.get("headers", {}).items():
        headers.pop(name, None)
        if value is not None:
            headers[name] = value.replace("$TOKEN", token)
    body = {**EXAMPLE, **variant.get("set", {})}
    body = {key: value for key, value in body.items() if key not in variant.get("drop", [])}
    body |= {key: unit * times for key, (unit, times) in variant.get("repeat", {}).items()}
    body |= {key: [item] * times for key, (item, times) in variant.get("repeat_items", {}).items()}
    for key, depth in variant.get("nest", {}).items():
        body[key] = functools.reduce(lambda inner, _: {"a": inner}, range(depth), 1)
    if "url_of_length" in variant:
        body["image_urls"] = ["https://example.com/".ljust(variant["url_of_length"], "a")]
    raw = json.dumps(body).encode().ljust(variant.get("pad_to", 0))
    if "body" in variant:
        raw = variant["body"].encode()
    if "body_b64" in variant:
        raw = base64.b64decode(variant["body_b64"])
    path = variant.get("path", SUBMIT).replace("$ID", id).replace("$TOKEN", token)
    return variant.get("method", "POST"), path, headers, raw


async def asked(served: Served, method: str, target: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
    """The answer to a message that no client library has tidied up first."""
    path, _, query = target.partition("?")
    given = {"Host": "api.example.org", "Content-Length": str(len(body)), **headers}
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": method, "root_path": "", "server": None,
        "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "client": ("192.0.2.1", 1),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(part: dict[str, Any]) -> None:
        sent.append(part)

    await served.app(scope, receive, send)
    return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1].get("body", b""))


@pytest.mark.parametrize("row", rows())
async def test_a_bad_input_gets_its_right_answer_and_leaves_nothing(served: Served, row: dict[str, Any]) -> None:
    id = await served.submit()
    variants = row.get("variants") or BY_HAND[row["id"]]

    for variant in variants:
        before = served.left()
        answer = await asked(served, *message(variant, served.token, id))

        assert answer.status_code in {row["expected_status"], *row.get("also_ok", [])}, (variant, answer.text)
        if answer.status_code >= 400:
            assert served.left() == before, variant
            judge_error(answer, row)
        assert "access-control-allow-origin" not in answer.headers


def judge_error(answer: httpx2.Response, row: dict[str, Any]) -> None:
    """An error has its shape, and the name and code of the row where its status is the expected one."""
    body = answer.json()
    assert list(body) == ["code", "error_code", "error", "error_message", "detail"]
    assert all(set(each) == {"loc", "msg", "type"} for each in body["detail"])
    if answer.status_code == row["expected_status"]:
        assert body["error"] in {row["expected_code"], *row.get("also_code", [])}
        if body["error"] == row["expected_code"]:
            assert body["code"] == body["error_code"] == row["error_code"]
    if answer.status_code == 422:
        assert body["detail"]
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def test_every_row_is_either_judged_here_or_named_with_its_reason() -> None:
    ids = {parameter.id for parameter in rows()}
    if "absent" in ids:
        pytest.skip("the list of bad inputs does not lie beside the repository")

    assert set(BY_HAND) | set(ELSEWHERE) <= ids
    assert set(BY_HAND) & set(ELSEWHERE) == set()
