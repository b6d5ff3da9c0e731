"""Who may speak: one bearer token, in the header and nowhere else; every way to be wrong looks the same."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import httpx2
import pytest
from served import MISSING_ID, SUBMIT, Serve, Served

from gesso.api import auth

BALANCE = "/v1/balance"


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The clock by which tokens are remembered, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def asked(served: Served, *headers: tuple[str, str], path: str = BALANCE) -> httpx2.Response:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return await served.client_of(None).get(path, headers=raw)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer  {}", "Bearer {} "])
async def test_the_scheme_may_be_in_any_case_and_spaces_do_not_matter(served: Served, form: str) -> None:
    assert (await asked(served, ("Authorization", form.format(served.token)))).status_code == 200


@pytest.mark.parametrize(
    "form",
    ["", "{}", "Bearer", "Bearer ", "Basic dTpw", "Token {}", "Bearer{}", "Bearer {}a", "Bearer a{}", "Bearer {} x",
     "Bearer ' OR '1'='1", "Bearer \x00", "Bearer {}\t", "Bearer,{}", "\xff\xfe"],
)  # fmt: skip
async def test_what_is_no_good_token_is_answered_with_one_and_the_same_401(served: Served, form: str) -> None:
    none = await asked(served)
    answer = await asked(served, ("Authorization", form.format(served.token)))

    assert (answer.status_code, answer.content) == (401, none.content)
    assert answer.headers == none.headers
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == 400004


@pytest.mark.parametrize("good_first", [True, False])
async def test_two_headers_speak_for_nobody(served: Served, good_first: bool) -> None:
    headers = [("Authorization", f"Bearer {served.token}"), ("Authorization", "Bearer other")]

    answer = await asked(served, *(headers if good_first else headers[::-1]))

    assert answer.status_code == 401


async def test_a_token_anywhere_else_is_not_seen(served: Served) -> None:
    token = served.token
    paths = [f"{BALANCE}?token={token}", f"{BALANCE}?access_token={token}", f"{BALANCE}?authorization=Bearer%20{token}"]
    headers = [("Cookie", f"token={token}"), ("X-Api-Key", token), ("Proxy-Authorization", f"Bearer {token}")]

    answers = [await asked(served, path=path) for path in paths] + [await asked(served, each) for each in headers]

    assert {answer.status_code for answer in answers} == {401}


@pytest.mark.parametrize("length", [513, 8192, 1_000_000])
async def test_a_very_long_token_is_just_a_bad_one(served: Served, length: int) -> None:
    assert (await asked(served, ("Authorization", "Bearer " + "a" * length))).status_code == 401


async def test_the_stored_hash_is_no_token(served: Served) -> None:
    hash = hashlib.sha256(served.token.encode())

    for form in (hash.hexdigest(), hash.digest().decode("latin-1")):
        assert (await asked(served, ("Authorization", f"Bearer {form}"))).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/categories"),
        ("GET", SUBMIT),
        ("POST", SUBMIT),
        ("GET", f"/v1/requests/{MISSING_ID}/status"),
        ("GET", f"/v1/requests/{MISSING_ID}/result"),
        ("POST", f"/v1/requests/{MISSING_ID}/cancel"),
        ("POST", "/v1/files"),
        ("GET", "/v1/balance"),
        ("GET", "/prod/v2/balance"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/no/such/route"),
        ("GET", "/healthzz"),
        ("GET", "/readyz/x"),
        ("DELETE", "/v1/models"),
        ("OPTIONS", "/v1/models"),
    ],
)
async def test_every_route_but_files_and_health_asks_for_a_token_before_all_else(
    served: Served, method: str, path: str
) -> None:
    assert (await served.client_of(None).request(method, path)).status_code == 401


async def test_files_and_health_ask_for_none(served: Served) -> None:
    nobody = served.client_of(None)

    assert (await nobody.get("/healthz")).json() == {"status": "ok"}
    assert (await nobody.get("/readyz")).status_code == 503
    assert (await nobody.get("/files/a/b")).status_code == 404


async def test_a_revoked_token_ends_within_two_seconds(fresh: Served, minutes: SimpleNamespace) -> None:
    header = ("Authorization", f"Bearer {fresh.token}")
    assert (await asked(fresh, header)).status_code == 200
    (token,) = await fresh.parts.tokens.list()
    await fresh.parts.tokens.revoke(token.id)

    minutes.now += auth.FRESH_S - 0.01
    assert (await asked(fresh, header)).status_code == 200, "remembered: a poll is cheap"
    minutes.now += 0.02
    assert (await asked(fresh, header)).status_code == 401
    assert auth.FRESH_S <= 3


async def test_a_token_that_nobody_has_used_yet_ends_at_once(fresh: Served) -> None:
    token = await fresh.parts.tokens.create("bob")
    await fresh.parts.tokens.revoke(next(each.id for each in await fresh.parts.tokens.list() if each.owner == "bob"))

    assert (await asked(fresh, ("Authorization", f"Bearer {token}"))).status_code == 401


async def test_an_expired_token_is_a_bad_one(served: Served) -> None:
    token = await served.parts.tokens.create("bob", lifetime=timedelta(microseconds=1))

    assert (await asked(served, ("Authorization", f"Bearer {token}"))).status_code == 401


async def test_a_new_token_of_the_same_owner_sees_the_same_requests(served: Served) -> None:
    request_id = await served.submit()

    assert (await (await served.client_for("alice")).get(f"/v1/requests/{request_id}/status")).status_code == 200


async def test_an_address_that_is_wrong_too_often_waits_and_a_good_token_never_does(serve_with: Serve) -> None:
    async with serve_with(bad_tokens_per_minute=3) as served:
        answers = [await asked(served, ("Authorization", f"Bearer {number}")) for number in range(5)]
        good = await served.client.get(BALANCE)

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert good.status_code == 200
