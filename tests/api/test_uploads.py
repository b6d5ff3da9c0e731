"""Uploads: a picture of the caller's own, judged like any other, usable in image fields by its owner alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from PIL import Image
from served import SUBMIT, Serve, Served, picture

from gesso.assembly import make_api, parts, serving
from gesso.core.request import Succeeded

FILES = "/v1/files"


async def submit(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    return await client.post(SUBMIT, json={"prompt": "a", "image_urls": [url]})


def form(data: bytes, *, name: str = "file", filename: str = "../../etc/passwd") -> dict[str, Any]:
    return {"files": {name: (filename, data, "image/gif")}}


def raw(data: bytes, type: str = "image/png") -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": type}}


@pytest.mark.parametrize(
    "sent",
    [form(picture(640, 400)), raw(picture(640, 400)), raw(picture(640, 400), "application/octet-stream"),
     raw(picture(640, 400), "IMAGE/JPEG; x=y")],
    ids=["form", "raw", "octets", "declared-wrong"],
)  # fmt: skip
async def test_an_upload_is_told_by_its_content_and_named_by_the_server(served: Served, sent: dict[str, Any]) -> None:
    answer = await served.client.post(FILES, **sent)
    body = answer.json()

    assert answer.status_code == 200
    assert list(body) == ["file_id", "url", "content_type", "size_bytes", "width", "height", "expires_at"]
    assert (body["content_type"], body["width"], body["height"]) == ("image/png", 640, 400)
    assert body["size_bytes"] == len(picture(640, 400))
    assert urlsplit(body["url"]).path == f"/files/{body['file_id']}/{body['file_id']}.png"
    assert (await served.client_of(None).get(body["url"])).content == picture(640, 400)


async def test_an_upload_lives_for_a_day(served: Served) -> None:
    expires_at = datetime.fromisoformat((await served.upload())["expires_at"])

    assert timedelta(hours=23, minutes=59) < expires_at - datetime.now(UTC) <= timedelta(days=1)


async def test_an_upload_is_frozen_into_a_request_by_its_url(fresh: Served) -> None:
    url = (await fresh.upload())["url"]
    request_id = (await submit(fresh.client, url)).json()["request_id"]

    request = await fresh.parts.queue.get(request_id, "alice")
    assert request.is_ready
    assert request.pictures[0].blob not in (None, urlsplit(url).path.split("/")[2])
    assert fresh.rows() == (1, 2)


async def test_an_output_may_be_an_input_of_its_owner(fresh: Served) -> None:
    request_id = await fresh.submit()
    request = await fresh.claim()
    kept = await fresh.parts.shelf.keep_png("out-1.png", Image.new("RGB", (400, 400)))
    await fresh.parts.queue.finish(request, Succeeded((kept,)), (kept,))
    url = (await fresh.client.get(f"/v1/requests/{request_id}/result")).json()["output"]["image"]

    assert (await submit(fresh.client, url)).status_code == 200
    assert (await submit(await fresh.client_for("bob"), url)).status_code == 422


async def test_an_upload_is_judged_by_the_rules_of_the_model_that_is_given_it(served: Served) -> None:
    url = (await served.upload(picture(100, 100)))["url"]

    answer = await submit(served.client, url)

    assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
        (["body", "image_urls", 0], "width_pixels>")
    ]


async def test_a_foreign_upload_a_forged_one_and_none_at_all_are_refused_alike(served: Served) -> None:
    url = (await served.upload())["url"]
    bob = await served.client_for("bob")
    key = urlsplit(url).path.split("/")[2]
    forged = [url[:-1] + ("A" if url[-1] != "A" else "B"), url.partition("?")[0], url.replace(key, "0" * 32)]
    forged += [url.replace("/files/", "/files/x/"), url + "&expires=1", "https://api.example.org/files/"]
    before = served.left()

    foreign = await submit(bob, url)
    answers = [await submit(served.client, each) for each in forged]

    assert foreign.status_code == 422
    assert [answer.json()["detail"][0]["type"] for answer in answers if answer.status_code != 200] == ["image_uri"] * 5
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 200, 422]
    assert foreign.content == answers[0].content
    assert served.left()[0][0] == before[0][0] + 1, "the first `expires` counts, as for the file itself"


async def test_an_upload_ends_with_its_time(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = timedelta(0)
    for module in (parts, serving):
        monkeypatch.setattr(module, "now", lambda: datetime.now(UTC) + ahead)
    app = await make_api(fresh.parts, "https://api.example.org")
    fresh.app = app
    client = fresh.client_of(fresh.token)
    url = (await client.post(FILES, **raw(picture()))).json()["url"]

    assert (await client.get(url)).status_code == 200
    ahead = timedelta(days=1, seconds=1)
    assert (await client.get(url)).status_code == 404
    assert (await submit(client, url)).json()["detail"][0]["type"] == "image_uri"


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (raw(picture(), "text/plain"), (415, 415001)),
        ({"content": picture()}, (415, 415001)),
        (raw(b""), (422, 422001)),
        (raw(b"GIF89a"), (422, 422001)),
        (raw(picture()[:-400]), (422, 422001)),
        (raw(bytes(10 * 2**20)), (413, 413001)),
        (form(bytes(10 * 2**20)), (413, 413001)),
        (form(picture(), name="picture"), (422, 422001)),
        ({"data": {"file": "x"}, "files": {"other": b"x"}}, (422, 422001)),
        ({"files": [("file", picture()), ("file", picture())]}, (400, 400000)),
        (raw(b"--x\r\n", "multipart/form-data; boundary=x"), (422, 422001)),
        (raw(b"--x\r\n", "multipart/form-data"), (400, 400000)),
        (raw(b"", "multipart/form-data; boundary=x"), (422, 422001)),
    ],
    ids=["type", "no-type", "empty", "gif", "broken", "large", "large-form", "other-field", "text-field", "two",
         "cut-form", "no-boundary", "empty-form"],
)  # fmt: skip
async def test_what_is_no_single_picture_is_refused_and_leaves_nothing(
    served: Served, sent: dict[str, Any], verdict: tuple[int, int]
) -> None:
    before = served.left()

    answer = await served.client.post(FILES, **sent)

    assert (answer.status_code, answer.json()["code"]) == verdict, answer.text
    assert served.left() == before
    if verdict[0] == 422:
        assert [each["loc"] for each in answer.json()["detail"]] == [["body", "file"]]


async def test_the_limit_that_is_told_is_the_one_that_holds(served: Served) -> None:
    answers = [await served.client.post(FILES, **sent(bytes(10 * 2**20))) for sent in (raw, form)]

    assert {answer.json()["error_message"] for answer in answers} == {
        "The request body is too large: at most 10 MiB are read."
    }


async def test_an_upload_just_below_10_mib_is_taken(served: Served) -> None:
    data = picture(format="BMP").ljust(10 * 2**20 - 1)

    assert (await served.upload(data))["size_bytes"] == 10 * 2**20 - 1


async def test_uploads_draw_on_the_budget_of_bytes_in_flight(serve_with: Serve) -> None:
    async with serve_with(bodies_in_flight=2**20) as served:
        answer = await served.client.post(FILES, **raw(bytes(600 * 2**10)))

    assert (answer.status_code, answer.json()["code"]) == (429, 429001)
