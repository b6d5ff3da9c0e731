"""Files out of a bucket: served by us like those of a folder, or fetched from the bucket itself by presigned URLs."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import obstore
import pytest
from obstore.store import S3Store
from s3 import Door
from s3 import Server as S3Server
from served import SUBMIT, Served, data_uri, picture, serve

from gesso.core.errors import ConfigError
from gesso.files import bucket as bucket_module
from gesso.worker.upkeep import Upkeep

pytestmark = pytest.mark.anyio


@pytest.fixture
def name(s3_server: S3Server, s3_door: Door, nowhere: None) -> str:
    return s3_server.new_bucket()


@pytest.fixture
async def proxied(tmp_path: Path, name: str) -> AsyncIterator[Served]:
    async with serve(tmp_path / "house", blobs=f"s3://{name}/p") as served:
        yield served


@asynccontextmanager
async def presigning(tmp_path: Path, name: str, **settings: Any) -> AsyncIterator[Served]:
    async with serve(tmp_path / "house", blobs=f"s3://{name}/p", presigned_urls=True, **settings) as served:
        yield served


@pytest.fixture
async def presigned(tmp_path: Path, name: str) -> AsyncIterator[Served]:
    async with presigning(tmp_path, name) as served:
        yield served


async def fetched(served: Served, url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """From us, or from the bucket: whichever the URL names."""
    if url.startswith("https://api.example.org/"):
        return await served.client_of(None).request(method, url, headers=headers)
    async with httpx2.AsyncClient() as anybody:
        return await anybody.request(method, url, headers=headers)


async def all_keys(served: Served) -> list[str]:
    return [key async for keys in served.parts.blobs.keys_older_than(timedelta(days=-1)) for key in keys]


async def test_a_picture_in_a_bucket_is_served_as_one_in_a_folder(proxied: Served) -> None:
    url = await proxied.output_url()
    get, head = await fetched(proxied, url), await fetched(proxied, url, "HEAD")
    part = await fetched(proxied, url, Range="bytes=1-3")
    none = await fetched(proxied, url, Range="bytes=99999999-")

    assert url.startswith("https://api.example.org/files/")
    assert (get.status_code, head.status_code, head.headers) == (200, 200, get.headers)
    assert get.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert (part.status_code, part.content) == (206, b"PNG")
    assert (none.status_code, none.headers["content-range"]) == (416, f"bytes */{len(get.content)}")


async def test_I18_damaged_bytes_in_a_bucket_are_never_served(proxied: Served, name: str) -> None:
    url, dice = await proxied.output_url(), random.Random(18)
    data = (await fetched(proxied, url)).content
    key = urlsplit(url).path.split("/")[2]
    foreign, told = S3Store(name, prefix="p", client_options={"allow_http": True}), set()
    for _ in range(50):
        at = dice.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        await obstore.put_async(foreign, f"{key[:2]}/{key}", dice.choice([flipped, data[:at]]))
        asked = dice.choice([{}, {"Range": "bytes=0-3"}])
        answer = await fetched(proxied, url, **asked)
        told.add((answer.status_code, answer.json()["code"], "retry-after" in answer.headers))

    assert told == {(503, 503001, True)}


async def test_a_blob_that_is_gone_from_the_bucket_is_not_found(proxied: Served) -> None:
    url = await proxied.output_url()
    await proxied.parts.blobs.delete(urlsplit(url).path.split("/")[2])

    assert (await fetched(proxied, url)).status_code == 404


@pytest.mark.slow
async def test_I17_while_the_bucket_is_away_submits_and_files_are_unavailable_and_leave_nothing(
    proxied: Served, s3_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "DEADLINE_S", 0.5)
    url = await proxied.output_url()
    rows, keys = proxied.rows(), await all_keys(proxied)
    body = {"prompt": "a cat", "image_urls": [data_uri(picture())]}
    for mode in ("shut", "silent"):
        s3_door.mode = mode
        submitted = await proxied.client.post(SUBMIT, json=body)
        uploaded = await proxied.client.post("/v1/files", content=picture(), headers={"Content-Type": "image/png"})
        told = [submitted, uploaded, await fetched(proxied, url)]
        assert [each.status_code for each in told] == [503] * 3
        assert all(int(each.headers["retry-after"]) >= 1 for each in told)
    s3_door.mode = "open"

    assert (proxied.rows(), await all_keys(proxied)) == (rows, keys)
    assert (await fetched(proxied, url)).status_code == 200
    assert await proxied.submit()


async def test_I20_a_submit_without_bytes_does_not_need_the_bucket(proxied: Served, s3_door: Door) -> None:
    s3_door.mode = "shut"
    answer = await proxied.client.post(SUBMIT, json={"prompt": "x", "image_urls": ["https://images.example/a.png"]})

    assert answer.status_code == 200


@pytest.mark.parametrize("mode", ["shut", "silent"])
async def test_readiness_asks_the_bucket_and_does_not_wait_for_it(
    proxied: Served, s3_door: Door, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("gesso.api.health.PATIENCE_S", 0.5)
    good = (await proxied.client_of(None).get("/readyz")).json()["checks"]["storage"]
    s3_door.mode = mode
    bad = (await proxied.client_of(None).get("/readyz")).json()["checks"]["storage"]

    assert (good, bad) == ("ok", "failing")


async def test_a_result_carries_the_presigned_url_of_its_picture(presigned: Served) -> None:
    url = await presigned.output_url()
    answer = await fetched(presigned, url)

    assert "X-Amz-Signature=" in url
    assert urlsplit(url).path.endswith(".png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")


async def test_a_presigned_url_ends_when_its_request_does(presigned: Served) -> None:
    url = await presigned.output_url()
    lives_s = int(url.partition("X-Amz-Expires=")[2].partition("&")[0])

    assert 7 * 86400 - 60 < lives_s <= 7 * 86400


async def test_an_upload_is_foreign_bytes_and_is_served_by_us_alone(presigned: Served) -> None:
    url = (await presigned.upload())["url"]
    answer = await fetched(presigned, url)

    assert url.startswith("https://api.example.org/files/")
    assert (answer.status_code, answer.headers["content-security-policy"]) == (200, "default-src 'none'; sandbox")


async def test_a_presigned_output_can_be_the_next_input_of_its_owner_and_of_nobody_else(presigned: Served) -> None:
    body = {"prompt": "again", "image_urls": [await large_output(presigned)]}
    bob = await presigned.client_for("bob")
    mine, theirs = await presigned.client.post(SUBMIT, json=body), await bob.post(SUBMIT, json=body)
    await bob.aclose()
    request = await presigned.parts.queue.get(mine.json()["request_id"], "alice")

    assert [each.blob is not None for each in request.pictures] == [True]  # frozen at once, and not fetched
    assert (theirs.status_code, theirs.json()["detail"][0]["type"]) == (422, "image_uri")


async def test_urls_that_were_ours_stay_good_when_urls_become_presigned(
    tmp_path: Path, proxied: Served, name: str
) -> None:
    url = await proxied.output_url()
    async with presigning(tmp_path, name) as later:
        assert (await fetched(later, url)).status_code == 200


async def test_I25_past_its_retention_a_request_and_its_blobs_are_gone_together(tmp_path: Path, name: str) -> None:
    async with presigning(tmp_path, name, retention=timedelta(0)) as served:
        parts = served.parts
        request_id = await served.submit()
        request = await served.end()
        (output,) = (await parts.queue.get(request_id, "alice")).outcome.files  # type: ignore[union-attr]
        direct = parts.blobs.url(output.key, timedelta(minutes=1)) or ""
        before = [(await fetched(served, direct)).status_code, len(await all_keys(served))]
        await Upkeep(parts.queue, parts.files, parts.blobs, retention=timedelta(0)).forget()
        after = [(await fetched(served, direct)).status_code, len(await all_keys(served))]
        gone = await served.client.get(f"/v1/requests/{request.id}/result")

    assert (before, after) == ([200, 2], [404, 0])
    assert (gone.status_code, gone.json()["code"]) == (404, 404001)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"blobs": "", "presigned_urls": True}, "needs a bucket"),
        ({"presigned_urls": True, "retention": "8d"}, "7 days at most"),
    ],
)
async def test_presigned_urls_that_cannot_last_stop_the_start(
    tmp_path: Path, name: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        async with serve(tmp_path / "house", **{"blobs": f"s3://{name}"} | settings):
            pass


async def large_output(served: Served) -> str:
    """The URL of an output that is large enough to be an input."""
    from PIL import Image

    from gesso.core.request import Succeeded

    request_id = await served.submit()
    request = await served.claim()
    kept = await served.parts.shelf.keep_png("large.png", Image.new("RGB", (400, 400)))
    await served.parts.queue.finish(request, Succeeded((kept,), {"engine": "test", "seed": 0}), [kept])
    return str((await served.client.get(f"/v1/requests/{request_id}/result")).json()["output"]["image"])
