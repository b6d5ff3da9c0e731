"""The two clients over real HTTP, against a foreign server: the same conversation, and where the token goes."""

from pathlib import Path

import pytest
from standin import CANCELLED, ID, IN_PROGRESS, IN_QUEUE, INVALID, MODEL, PNG, TOKEN, Standin, listening

from gesso.client import AsyncClient, Client, ClientTimeout, Unreachable
from gesso.core.errors import BadToken, EngineFailed, InvalidInput, UnknownModel


def test_run_submits_waits_and_gives_the_result(server: Standin):
    server.polls.extendleft([IN_PROGRESS, IN_QUEUE])
    with Client(server.url, TOKEN) as client:
        result = client.run(MODEL, {"prompt": "a cat"})

    assert result["output"]["images"] == [result["output"]["image"]]
    assert server.calls("POST")[0].json == {"prompt": "a cat"}


async def test_the_async_client_holds_the_same_conversation(server: Standin, tmp_path: Path):
    told: list[str] = []
    (tmp_path / "cat.png").write_bytes(PNG)
    async with AsyncClient(server.url, TOKEN) as client:
        result = await client.subscribe(MODEL, {"image_urls": [tmp_path / "cat.png"]}, on_enqueue=told.append)
        files = await client.download_outputs(result, tmp_path / "out")

    assert told == [ID]
    assert server.calls("POST", "/v1/files")[0].body == PNG
    assert files == [tmp_path / "out" / "0b9f0f7e-1.png"]


def test_a_path_in_an_input_is_uploaded_with_its_content_type(server: Standin, tmp_path: Path):
    (tmp_path / "cat.webp").write_bytes(PNG)
    with Client(server.url, TOKEN) as client:
        client.submit(MODEL, {"image_urls": [tmp_path / "cat.webp"]})

    upload, submit = server.calls("POST")
    assert (upload.body, upload.headers["content-type"]) == (PNG, "image/webp")
    assert submit.json["image_urls"][0].startswith(f"{server.url}/files/Qm4/")


def test_a_missing_file_is_found_before_anything_is_sent(server: Standin, tmp_path: Path):
    with Client(server.url, TOKEN) as client, pytest.raises(FileNotFoundError):
        client.submit(MODEL, {"image_urls": [tmp_path / "none.png"]})

    assert server.seen == []


def test_the_token_goes_to_the_base_url_only(server: Standin):
    with listening() as foreign:
        foreign.result = server.result
        told = {f"{part}_url": f"{foreign.url}/v1/requests/{ID}/{part}" for part in ("status", "result", "cancel")}
        server.can(f"POST /v1/models/{MODEL}", (200, {}, {"request_id": ID, **told}))
        with Client(server.url, TOKEN) as client:
            result = client.run(MODEL, {})

        assert result["status"] == "succeeded"
        assert foreign.seen == []


def test_a_redirect_is_not_followed(server: Standin):
    with listening() as foreign:
        server.can("GET /v1/balance", (307, {"Location": f"{foreign.url}/v1/balance"}, {}))
        with Client(server.url, TOKEN) as client, pytest.raises(Exception, match="redirects"):
            client.balance()

        assert foreign.seen == []


def test_downloads_carry_no_token(server: Standin, tmp_path: Path):
    with Client(server.url, TOKEN) as client:
        client.download_outputs(client.run(MODEL, {}), tmp_path)

    assert "authorization" not in server.calls("GET", "/files/")[0].headers


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_a_base_url_may_end_with_v1(server: Standin, ending: str):
    with Client(server.url + ending, TOKEN) as client:
        client.balance()

    assert server.seen[0].path == "/v1/balance"


def test_a_client_timeout_leaves_the_request_alone(server: Standin):
    server.polls[0] = IN_PROGRESS
    with Client(server.url, TOKEN) as client, pytest.raises(ClientTimeout) as caught:
        client.submit(MODEL, {}).get(client_timeout=0.05)

    assert caught.value.request_id == ID
    assert server.calls("POST", "cancel") == []


def test_a_request_of_which_only_the_id_is_known_can_be_asked_after(server: Standin):
    server.polls[0] = CANCELLED
    with Client(server.url, TOKEN) as client:
        handle = client.handle(ID)

        assert handle.status()["status"] == "cancelled"
        assert handle.result()["status"] == "succeeded"
        assert handle.cancel()["outcome"] == "cancelled"


def test_the_catalogue_is_read_with_its_filters(server: Standin):
    with Client(server.url, TOKEN) as client:
        page, model, names = client.models(search="wan", category=None), client.model(MODEL), client.categories()

    assert (page["total"], model["model_id"], names) == (1, MODEL, ["image-to-image"])
    assert server.seen[0].query == {"search": ["wan"]}


def test_errors_cross_the_wire_and_come_out_as_themselves(server: Standin):
    server.can(f"POST /v1/models/{MODEL}", (422, {}, INVALID))
    with Client(server.url, TOKEN) as client:
        with pytest.raises(InvalidInput):
            client.run(MODEL, {})
        with pytest.raises(UnknownModel):
            client.run("no/such", {})
    with Client(server.url, "wrong") as client, pytest.raises(BadToken):
        client.balance()


def test_a_failed_run_raises_what_it_failed_of(server: Standin):
    server.fail(502001, "The engine failed: no memory")
    with Client(server.url, TOKEN) as client, pytest.raises(EngineFailed, match="no memory"):
        client.run(MODEL, {})


def test_a_server_that_is_not_there_is_unreachable():
    with Client("http://127.0.0.1:9", TOKEN, patience=0) as client, pytest.raises(Unreachable, match="no answer"):
        client.balance()


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server: Standin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(server.url, TOKEN, patience=0) as client:
        assert client.balance()["currency"] == "USD"
