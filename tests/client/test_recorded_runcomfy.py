"""The SDK against RunComfy as it was recorded: its own words, hosts and gaps, over real HTTP, plain and async."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from recorded_runcomfy import API, EXCHANGES, ID, MODEL, STORAGE, RunComfy, recorded
from standin import PNG, listening

from gesso.cli.main import main
from gesso.client import AsyncClient, Client, ClientTimeout, RequestCancelled
from gesso.client.errors import BadAnswer
from gesso.client.events import Completed, Event, InProgress, Queued
from gesso.core.errors import (
    BadRequest,
    BadToken,
    BalanceUsedUp,
    Forbidden,
    GessoError,
    InternalError,
    InvalidInput,
    ResourceNotFound,
    TooMany,
    UnknownModel,
)

WAITS = ("status.in_queue", "status.in_progress", "status.completed")
INPUT = {"prompt": "a cat", "image_urls": ["https://images.example/cat.jpg"]}
CAT = b"a picture, or as good as one"
SUBMIT, STATUS, RESULT, CANCEL = (
    f"POST /v1/models/{MODEL}",
    *(f"{how} /v1/requests/{ID}/{part}" for how, part in (("GET", "status"), ("GET", "result"), ("POST", "cancel"))),
)


@pytest.fixture
def runcomfy() -> Iterator[RunComfy]:
    with recorded() as runcomfy:
        yield runcomfy


@pytest.fixture
def client(runcomfy: RunComfy) -> Iterator[Client]:
    with Client(runcomfy.base_url, "a-paid-token", patience=0) as client:
        yield client


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    (tmp_path / "cat.jpg").write_bytes(CAT)
    return tmp_path / "cat.jpg"


def test_every_exchange_says_where_it_is_from_and_how_well_it_is_known():
    for name, told in EXCHANGES.items():
        assert told["seen"] in {"live", "documented", "tested", "assumed"}, name
        assert len(told["from"]) > 20, name
    assert [name for name, told in EXCHANGES.items() if told["seen"] == "assumed"] == ["no_route"]


@pytest.mark.parametrize("ending", ["result.completed", "result.succeeded"])
def test_a_run_is_polled_to_its_result_whichever_word_it_has_for_success(
    runcomfy: RunComfy, client: Client, ending: str
):
    events: list[Event] = []
    runcomfy.plays("submit", *WAITS, ending)

    result = client.subscribe(MODEL, INPUT, on_queue_update=events.append)

    assert result["output"]["image"].startswith(f"http://{STORAGE}")
    assert events == [Queued(3), InProgress(), Completed(result)]
    assert runcomfy.asked == [SUBMIT, STATUS, STATUS, STATUS, RESULT]


async def test_the_async_client_is_told_the_same(runcomfy: RunComfy):
    runcomfy.plays("submit", *WAITS, "result.completed")
    async with AsyncClient(runcomfy.base_url, "a-paid-token") as client:
        handle = await client.submit(MODEL, INPUT)
        events = [event async for event in handle.iter_events()]

    assert events[:2] == [Queued(3), InProgress()]
    assert isinstance(events[2], Completed)
    assert runcomfy.asked == [SUBMIT, STATUS, STATUS, STATUS, RESULT]


def test_a_submit_that_gives_an_id_alone_is_followed_too(runcomfy: RunComfy, client: Client):
    runcomfy.plays("submit.202", "status.completed", "result.completed")

    assert client.run(MODEL, INPUT)["request_id"] == ID


def test_nothing_is_sent_that_runcomfy_is_not_known_to_understand(runcomfy: RunComfy, client: Client):
    runcomfy.plays("submit", "status.completed", "result.completed")

    client.run(MODEL, INPUT)

    submit = runcomfy.seen[0]
    assert (submit.json, submit.query) == (INPUT, {})
    assert not {"idempotency-key", "prefer"} & submit.headers.keys()
    assert {each.headers["authorization"] for each in runcomfy.seen} == {"Bearer a-paid-token"}
    assert {each.headers["host"] for each in runcomfy.seen} == {f"{API}:{runcomfy.port}"}


def test_a_lost_submit_is_not_sent_again_because_it_may_be_paid(runcomfy: RunComfy):
    runcomfy.plays("error.away")
    with Client(runcomfy.base_url, "a-paid-token", patience=30) as client, pytest.raises(InternalError):
        client.submit(MODEL, INPUT)

    assert runcomfy.asked == [SUBMIT]


def test_files_lie_on_another_host_which_is_not_told_the_token(runcomfy: RunComfy, client: Client, tmp_path: Path):
    runcomfy.plays("submit", "status.completed", "result.completed")

    (file,) = client.download_outputs(client.run(MODEL, INPUT), tmp_path)

    assert (file.name, file.read_bytes()) == ("0217657015174_0.jpeg", PNG)
    assert runcomfy.seen[-1].headers["host"].startswith(STORAGE)
    assert "authorization" not in runcomfy.seen[-1].headers


def test_pictures_go_as_data_uris_because_there_are_no_uploads(runcomfy: RunComfy, client: Client, cat: Path):
    runcomfy.plays("submit")

    client.submit(MODEL, {"prompt": "a cat", "image_urls": [cat, client.upload(CAT, "image/png")]})

    jpeg, png = runcomfy.seen[0].json["image_urls"]
    assert (jpeg[:23], png[:22]) == ("data:image/jpeg;base64,", "data:image/png;base64,")
    assert jpeg[23:] == png[22:]
    assert runcomfy.asked == [SUBMIT]


async def test_the_async_client_sends_data_uris_too(runcomfy: RunComfy, cat: Path):
    runcomfy.plays("submit")
    async with AsyncClient(runcomfy.base_url, "a-paid-token") as client:
        await client.submit(MODEL, {"image_urls": [cat]})
        url = await client.upload_file(cat)

    assert runcomfy.seen[0].json["image_urls"] == [url]
    assert runcomfy.asked == [SUBMIT]


def test_a_result_is_told_as_it_is_before_the_end(runcomfy: RunComfy, client: Client):
    runcomfy.plays("result.in_progress")

    assert client.handle(ID).result()["status"] == "in_progress"


def test_a_client_timeout_leaves_the_paid_request_alone(runcomfy: RunComfy, client: Client):
    runcomfy.plays("submit", "status.in_queue")
    with pytest.raises(ClientTimeout) as caught:
        client.submit(MODEL, INPUT).get(client_timeout=0.1)

    assert caught.value.request_id == ID
    assert CANCEL not in runcomfy.asked


@pytest.mark.parametrize("status", ["status.cancelled", "status.completed"])
def test_a_cancelled_request_has_never_run_whatever_its_status_says(runcomfy: RunComfy, client: Client, status: str):
    runcomfy.plays("cancel.cancelled", status, "result.cancelled")
    handle = client.handle(ID)

    assert handle.cancel()["outcome"] == "cancelled"
    with pytest.raises(RequestCancelled, match=ID):
        handle.get()


def test_a_cancel_that_comes_too_late_says_so(runcomfy: RunComfy, client: Client):
    runcomfy.plays("cancel.not_cancellable")

    assert client.handle(ID).cancel()["outcome"] == "not_cancellable"


@pytest.mark.parametrize("status", ["status.completed", "status.failed"])
def test_a_failure_is_told_in_its_own_words(runcomfy: RunComfy, client: Client, status: str):
    runcomfy.plays("submit", status, "result.failed")

    with pytest.raises(GessoError, match="model refused the prompt"):
        client.run(MODEL, INPUT)


def test_cost_and_catalogue_are_read(runcomfy: RunComfy, client: Client):
    runcomfy.plays("result.with_cost", "model", "models")

    assert client.handle(ID).outcome()["cost"] == 2.85
    assert client.model(MODEL)["input_schema"]["properties"]["guidance_scale"]["type"] == "float"
    assert client.models()["total"] == 2


def submit(client: Client) -> object:
    return client.submit(MODEL, INPUT)


def ask(client: Client) -> object:
    return client.handle(ID).result()


@pytest.mark.parametrize(
    ("name", "call", "kind", "words"),
    [
        ("error.no_model", submit, UnknownModel, "no such model"),
        ("error.no_model.404", submit, ResourceNotFound, "model not found"),
        ("error.bad_token", submit, BadToken, "valid token"),
        ("error.bad_token.401", submit, BadToken, "valid token"),
        ("error.no_balance", submit, BalanceUsedUp, "used up"),
        ("error.invalid", submit, InvalidInput, "Validation Error"),
        ("error.foreign_request", ask, Forbidden, "PermissionDeniedError"),
        ("error.no_request", ask, ResourceNotFound, "no such request"),
        ("result.not_ready", ask, BadRequest, "400005"),
        ("error.with_200", Client.models, Forbidden, "Forbidden for this account"),
        ("error.busy", lambda client: client.handle(ID).status(), TooMany, "Too many requests"),
    ],
)
def test_every_refusal_comes_out_as_its_class(
    runcomfy: RunComfy, client: Client, name: str, call: Callable[[Client], Any], kind: type[GessoError], words: str
):
    runcomfy.plays(name)

    with pytest.raises(kind, match=words) as caught:
        call(client)
    assert type(caught.value) is kind


def test_what_runcomfy_does_not_have_is_refused_in_words(runcomfy: RunComfy, client: Client):
    with pytest.raises(ResourceNotFound, match="Not Found"):
        client.requests()


def test_a_server_that_takes_no_uploads_and_is_not_known_to_is_named(cat: Path):
    """RunComfy behind a name of one's own: a proxy, or another server that speaks like it."""
    with listening(RunComfy()) as server, Client(server.url, "a-token", patience=0) as client:
        with pytest.raises(BadAnswer, match="no uploads; give an https URL or a data URI"):
            client.submit(MODEL, {"image_urls": [cat]})
        server.plays("submit", *WAITS, "result.completed")  # type: ignore[attr-defined]
        handle = client.submit(MODEL, INPUT)

        assert handle.get()["status"] == "completed"
        assert urlsplit(handle.ticket.status_url).netloc == "", "its own host is not followed with this token"


def test_every_exchange_was_played():
    """What is recorded and tried by nobody is no evidence."""
    words = Path(__file__).read_text("utf-8")

    assert [name for name in EXCHANGES if f'"{name}"' not in words and name != "no_route"] == []


def test_the_command_line_finds_runcomfy_by_its_own_environment_and_fetches(
    runcomfy: RunComfy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", f"{runcomfy.base_url}/v1")
    monkeypatch.setenv("RUNCOMFY_TOKEN", "a-paid-token")
    monkeypatch.chdir(tmp_path)
    runcomfy.plays("model", "submit", *WAITS, "result.completed")

    said = CliRunner().invoke(main, ["run", MODEL, "--input", '{"prompt": "a cat"}', "--output", "json"])

    assert said.exit_code == 0, said.output
    assert (tmp_path / "0217657015174_0.jpeg").read_bytes() == PNG
    assert [each.headers.get("authorization") for each in runcomfy.seen][-2:] == ["Bearer a-paid-token", None]
