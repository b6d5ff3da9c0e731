"""A dry run judges all that a submit and its intake would judge, and leaves nothing behind."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from inside import Host, House, data_uri, found, house, image_host, ok, picture, the_net_is
from live import EXAMPLE, FIVE_KEYS, SUBMIT, WAN, running

from gesso.api import pictures

pytestmark = pytest.mark.anyio
DRY = "?dry_run=true"


@pytest.fixture
async def host(tmp_path) -> AsyncIterator[tuple[Host, House]]:
    """An image host, and a house that may fetch from it and knows nobody else."""
    async with image_host() as (host, trusting):
        names = {
            "images.example": lambda: ["127.0.0.1"],
            "inside.example": lambda: ["10.0.0.1"],
            "gone.example": list,
        }
        settings = {"fetch_allow_hosts": ("images.example",), "fetch_allow_ports": (host.port, 443)}
        with the_net_is(names, trusting):
            async with house(tmp_path / "house", **settings) as here:
                yield host, here


async def faults(here: House, *urls: str, **fields: Any) -> list[tuple[Any, ...]]:
    """Where and what, for each problem of a dry run that is refused."""
    before = here.left()
    answer = await here.submit(DRY, image_urls=list(urls), **fields)
    body = answer.json()

    assert answer.status_code == 422, body
    assert body.keys() == FIVE_KEYS
    assert (body["code"], body["error"]) == (422001, "ValidationError")
    assert here.left() == before
    return [(*each["loc"], each["type"]) for each in body["detail"]]


async def test_a_sound_input_is_found_sound_and_nothing_is_kept_of_it(host):
    host, here = host
    urls = [host.says("/a.png", ok(picture())), data_uri(picture(400, 500, format="JPEG"))]
    uploaded = await here.client.post("/v1/files", content=picture(), headers={"Content-Type": "image/png"})
    before = here.left()

    answer = await here.submit(DRY, image_urls=[*urls, uploaded.json()["url"]])

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"valid": True, "dry_run": True, "model_id": WAN, "queue_position": 0, "cost": 0}
    assert len(host.asked) == 1
    assert here.left() == before


async def test_the_place_in_the_queue_is_the_one_that_a_submit_would_get(host):
    host, here = host
    for _ in range(2):
        assert (await here.submit(image_urls=[data_uri(picture())])).status_code == 200

    assert (await here.submit(DRY, image_urls=[data_uri(picture())])).json()["queue_position"] == 2


async def test_every_rule_of_the_schema_is_judged_before_anything_is_fetched(host):
    host, here = host
    url = host.says("/a.png", ok(picture()))

    assert await faults(here, url, prompt=" ", seed="1") == [("body", "prompt", "blank"), ("body", "seed", "int_type")]
    assert await faults(here, "http://images.example/a.png") == [("body", "image_urls", 0, "image_uri")]
    assert await faults(here, "https://169.254.169.254/") == [("body", "image_urls", 0, "url_not_allowed")]
    assert host.asked == []


async def test_each_picture_is_told_what_is_wrong_with_it(host):
    host, here = host
    rules = (await here.client.get(f"/v1/models/{WAN}")).json()["input_schema"]["properties"]["image_urls"]
    said = {rule["validation_rule"]: rule["validation_error"] for rule in _validations(rules)}
    small = host.says("/small.png", ok(picture(383, 384)))
    page = host.says("/page.png", ok(b"<html>please sign in</html>", "Content-Type: image/png"))

    answer = await here.submit(DRY, image_urls=[small, data_uri(picture(384, 5001)), page])
    detail = answer.json()["detail"]

    assert [(*each["loc"], each["type"]) for each in detail] == [
        ("body", "image_urls", 0, "width_pixels>"),
        ("body", "image_urls", 1, "height_pixels<"),
        ("body", "image_urls", 2, "unsupported_image"),
    ]
    assert [each["msg"] for each in detail[:2]] == [said["width_pixels>"], said["height_pixels<"]]
    assert "sign in" not in answer.text


def _validations(schema: Any) -> list[Any]:
    return [*schema.get("validations", ()), *schema.get("items", {}).get("validations", ())]


async def test_what_cannot_be_reached_is_told_and_nothing_else_is(host):
    host, here = host
    missing = host.says("/missing.png", b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsecret")
    turned = host.says("/turned.png", found("https://10.0.0.1/"))
    inside, gone = f"https://inside.example:{host.port}/", f"https://gone.example:{host.port}/"

    assert await faults(here, missing, turned, inside) == [
        ("body", "image_urls", 0, "image_fetch_failed"),
        ("body", "image_urls", 1, "url_not_allowed"),
        ("body", "image_urls", 2, "url_not_allowed"),
    ]
    assert await faults(here, gone) == [("body", "image_urls", 0, "image_fetch_failed")]
    text = (await here.submit(DRY, image_urls=[missing, turned, inside])).text
    for word in ("secret", "10.0.0.1", "404", "127.0.0.1", "Not Found"):
        assert word not in text


async def test_a_host_that_hangs_holds_a_dry_run_no_longer_than_its_time(host, monkeypatch):
    host, here = host
    monkeypatch.setattr(pictures, "TRY_S", 0.5)

    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    urls = [host.says(f"/{number}", hang) for number in range(3)]
    began = time.monotonic()

    assert await faults(here, *urls) == [("body", "image_urls", number, "image_fetch_failed") for number in range(3)]
    assert time.monotonic() - began < 3


async def test_a_dry_run_leaves_its_share_of_the_budget_as_it_was(tmp_path):
    body = data_uri(picture(1000, 1000, format="BMP"))
    async with house(tmp_path / "house", bodies_in_flight=8 * 2**20) as here:
        for _ in range(4):
            assert (await here.submit(DRY, image_urls=[body])).status_code == 200


@pytest.mark.parametrize(
    ("text", "is_dry"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False)]
)
async def test_the_option_is_a_flag(tmp_path, text, is_dry):
    async with house(tmp_path / "house") as here:
        answer = await here.submit(f"?dry_run={text}", image_urls=[data_uri(picture())])

        assert answer.json().get("dry_run", False) is is_dry
        assert here.left()[0] == (0 if is_dry else 1)


@pytest.mark.parametrize("text", ["", "yes", "2", "tru", "null", "%00", "true,true", "a" * 5000])
async def test_another_value_of_the_option_is_refused_by_its_name(tmp_path, text):
    async with house(tmp_path / "house") as here:
        answer = await here.submit(f"?dry_run={text}")

        assert answer.status_code == 422
        assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
            (["query", "dry_run"], "bool_type")
        ]
        assert here.left() == (0, 0, 0)


async def test_it_is_an_option_of_submits_alone(tmp_path):
    async with house(tmp_path / "house") as here:
        for path in (SUBMIT, "/v1/models", "/v1/balance"):
            plain, dry = await here.client.get(path), await here.client.get(f"{path}?dry_run=maybe")
            head = await here.client.head(f"{path}?dry_run=maybe")
            assert (dry.status_code, dry.content) == (plain.status_code, plain.content)
            assert (head.status_code, head.content) == (200, b"")


async def test_what_the_security_page_says_opens_a_closed_network(tmp_path, monkeypatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    body = json.dumps({**EXAMPLE, "image_urls": [host.says("/a.png", ok(picture()), "localhost")]}).encode()
    opened = {"fetch_allow_hosts": "localhost", "fetch_allow_ports": f"443,{host.port}"}

    def ask(folder: Path, **settings: str) -> int:
        folder.mkdir()
        with running("serve", folder, **settings) as live:
            return live.asked(SUBMIT + DRY, method="POST", body=body).status

    assert await asyncio.to_thread(ask, tmp_path / "open", **opened) == 200
    assert len(host.asked) == 1
    assert await asyncio.to_thread(ask, tmp_path / "shut", fetch_allow_ports=opened["fetch_allow_ports"]) == 422
    assert len(host.asked) == 1
    server.close()


async def test_a_dry_run_needs_all_that_a_submit_needs(tmp_path):
    async with house(tmp_path / "house") as here:
        stranger = here.client_of("gesso_wrong")
        unknown = await here.client.post("/v1/models/no/such" + DRY, json=EXAMPLE)
        untyped = await here.client.post(SUBMIT + DRY, content=b"{}")
        broken = await here.client.post(SUBMIT + DRY, content=b"{", headers={"Content-Type": "application/json"})

        assert (await stranger.post(SUBMIT + DRY, json=EXAMPLE)).status_code == 401
        assert [unknown.status_code, untyped.status_code, broken.status_code] == [404, 415, 400]
