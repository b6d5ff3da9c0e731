"""Against an S3 server that checks what it is told: signatures, their ends, and the SHA-256 of what is put."""

from datetime import timedelta

import httpx2
import pytest
import swift
from s3 import Door
from script import eventually_now

from gesso.core.errors import ConfigError, ResourceNotFound, Unavailable
from gesso.files.bucket import BucketBlobs, open_bucket

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def name(swift_server: str, swift_door: Door) -> str:
    return swift.new_bucket(swift_server)


@pytest.fixture
def blobs(name: str) -> BucketBlobs:
    return BucketBlobs(name, "p", presigns=True)


async def test_I12_bytes_that_changed_on_their_way_are_refused_by_the_store_and_never_kept(
    blobs: BucketBlobs, swift_door: Door
) -> None:
    key = blobs.new_key("png")
    swift_door.mode = "flip"
    with pytest.raises(Unavailable):
        await blobs.put(key, b"gesso")
    swift_door.mode = "open"

    with pytest.raises(ResourceNotFound):
        await blobs.read(key)


async def test_a_presigned_url_opens_its_picture_and_nothing_else(blobs: BucketBlobs) -> None:
    key, other = blobs.new_key("png"), blobs.new_key("png")
    for each in (key, other):
        await blobs.put(each, each.encode(), name="a.png", content_type="image/png")
    url = blobs.url(key, A_MINUTE) or ""
    good = httpx2.get(url)
    bad = [
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace(key, other),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        url.partition("?")[0],
    ]

    assert (good.status_code, good.text, good.headers["content-type"]) == (200, key, "image/png")
    assert good.headers["content-disposition"] == 'inline; filename="a.png"'
    assert {httpx2.get(each).status_code for each in bad} <= {400, 403}
    assert httpx2.put(url, content=b"x").status_code == 403
    assert httpx2.delete(url).status_code == 403


async def test_a_presigned_url_is_over_at_its_end(blobs: BucketBlobs) -> None:
    key = blobs.new_key("png")
    await blobs.put(key, b"x")
    url = blobs.url(key, timedelta(seconds=1)) or ""

    assert eventually_now(lambda: httpx2.get(url).status_code == 403)


async def test_a_wrong_secret_stops_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(ConfigError, match=r"cannot be used: .*403"):
        await open_bucket(f"s3://{name}/p", presigns=False)


async def test_a_right_one_does_not(name: str) -> None:
    assert await open_bucket(f"s3://{name}/p", presigns=True)
