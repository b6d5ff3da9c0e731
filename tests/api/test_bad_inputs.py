"""The list of bad and boundary inputs, as far as one message tells: each gets its right answer and leaves nothing.

The list lies beside the repository; where it does not, these tests are skipped.
"""

import base64
import functools
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx2
import pytest
from served import EXAMPLE, SUBMIT, Served

LIST = Path(__file__).parents[3] / "shared" / "hostile" / "bad_inputs.json"
AREAS = ("auth", "path", "json", "field", "image_urls", "ssrf", "webhook")
PHASES = ("http", "submit")
DEEPER = (("webhook", "job"), ("ops", "ops"))
PATH = "/v1/requests/$ID/status"
KIB, MIB = 2**10, 2**20


def hooked(*values: str, more: str = "") -> dict[str, Any]:
    """A submit that names webhooks."""
    return {"path": f"{SUBMIT}?" + "&".join(f"webhook={quote(value, safe='')}" for value in values) + more}


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
    "W01": [
        hooked(f"https://{host}/")
        for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "2130706433", "0x7f.1", "[::ffff:7f00:1]")
    ],
    "W02": [
        hooked(url)
        for url in ("http://hooks.example/", "https://a:b@hooks.example/", "https://hooks.example:22/", "#fragment")
    ],
    "W03": [
        *(hooked(url) for url in ("not a URL", "", "https://", "https://hooks.example/".ljust(5000, "a"))),
        hooked("https://hooks.example/", "https://hooks.example/"),
    ],
    "W04": [
        hooked("https://hooks.example/", more="&webhook_intermediate_status=maybe"),
        {"path": f"{SUBMIT}?webhook_intermediate_status=maybe"},
    ],
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
# Rows that need a receiver, a process or a fault of the machine, and the test that keeps each.
KEPT = {
    "W05": "webhooks/test_sender.py: test_W05_a_name_that_flips_after_the_submit_is_judged_again_at_each_attempt",
    "W07": "webhooks/test_sender.py: test_W07_hung_receivers_get_a_few_attempts_at_once_and_delay_nobody_else",
    "W09": "webhooks/test_sender.py: test_W09_410_ends_it",
    "W12": "webhooks/test_signature.py: test_W12_a_receivers_library_refuses_what_we_did_not_sign",
    "W13": "webhooks/test_sender.py: test_W13_a_picture_that_is_refused_is_told_once",
    "Z01": "gate/test_rates.py: test_open_requests_of_all_owners_are_limited",
    "Z02": "gate/test_rates.py: test_submits_of_an_owner_are_limited_and_no_other_owner_notices",
    "Z06": "conformance/test_database.py: test_I20_all_who_wait_for_a_locked_file_are_told_together",
    "Z09": "gate/test_starts.py: test_Z09_a_submit_during_the_stop_is_durable_or_refused",
    "Z11": "gate/test_starts.py: test_Z11_an_address_that_others_can_reach_needs_a_token_first",
    "Z12": "gate/test_starts.py: test_Z12_a_fresh_install_tells_its_first_token_once",
    "Z13": "gate/test_rates.py: test_Z13_who_has_used_up_the_run_time_of_a_day_is_told_so_and_nobody_else_is",
    "Z14": "gate/test_rates.py: test_bodies_in_flight_are_bounded_on_the_wire_and_another_owner_goes_on",
    "Z16": "worker/test_intake.py: test_I09_what_a_dead_intake_had_taken_begins_anew_elsewhere_at_once",
}
LATER = {
    "Z04": "a full disk while an output is written: the fault suites",
    "Z07": "PostgreSQL away: the fault suites",
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


def test_every_row_that_needs_more_than_a_message_names_the_test_that_keeps_it() -> None:
    if not LIST.exists():
        pytest.skip("the list of bad inputs does not lie beside the repository")
    tests = Path(__file__).parents[1]
    listed = [row for row in json.loads(LIST.read_text("utf-8")) if (row["area"], row["phase"]) in DEEPER]

    assert {row["id"] for row in listed} == set(KEPT) | set(LATER)
    for place in KEPT.values():
        file, name = place.split(": ")
        assert f"def {name}(" in (tests / file).read_text(), place
