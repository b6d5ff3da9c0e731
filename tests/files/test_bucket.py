"""Blobs in a bucket, beside what every store promises: checksums, presigned URLs, and networks that fail."""

import asyncio
import base64
import hashlib
import re
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from s3 import Door, Server

from gesso.core.errors import ConfigError, ResourceNotFound, Unavailable
from gesso.files import bucket as bucket_module
from gesso.files.blobs import new_key
from gesso.files.bucket import BucketBlobs, open_bucket

pytestmark = pytest.mark.anyio
A_DAY, A_WEEK = timedelta(days=1), timedelta(days=7)
DENIED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 26\r\nConnection: close\r\n\r\n<Code>AccessDenied</Code> "
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def name(s3_server: Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def blobs(name: str, s3_door: Door) -> BucketBlobs:
    return BucketBlobs(name, "some/where", presigns=True)


async def fetched(url: str, method: str = "GET") -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.request(method, url)


async def test_I12_a_put_carries_the_sha256_of_its_bytes_for_the_store_to_compare(
    blobs: BucketBlobs, s3_door: Door
) -> None:
    sha256 = await blobs.put(new_key(), b"bytes")
    (head,) = (each for each in s3_door.heard if each.startswith(b"PUT"))
    told = dict(re.findall(r"\r\n(x-amz-[\w-]+): ([^\r]+)", head.decode("latin-1")))

    assert told["x-amz-checksum-sha256"] == base64.b64encode(bytes.fromhex(sha256)).decode()
    assert told["x-amz-content-sha256"] == sha256 == hashlib.sha256(b"bytes").hexdigest()


async def test_a_large_blob_is_one_message_with_one_checksum(blobs: BucketBlobs, s3_door: Door) -> None:
    await blobs.put(new_key(), bytes(20_000_000))

    heads = [each for each in s3_door.heard if re.match(rb"(PUT|POST) ", each)]
    assert len(heads) == 1
    assert b"uploadId" not in heads[0]


async def test_a_presigned_url_serves_anybody_the_bytes_as_what_they_are(blobs: BucketBlobs) -> None:
    key = blobs.new_key("png")
    await blobs.put(key, b"png", name="cat-1.png", content_type="image/png")
    answer = await fetched(blobs.url(key, A_DAY) or "")

    assert (answer.status_code, answer.content) == (200, b"png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'inline; filename="cat-1.png"'
    assert answer.headers["cache-control"] == "private, max-age=3600"


async def test_a_presigned_url_has_a_stable_path_of_128_random_bits_with_a_plain_name_and_an_end(
    blobs: BucketBlobs,
) -> None:
    key = blobs.new_key("png")
    first, second = (urlsplit(blobs.url(key, lives) or "") for lives in (timedelta(seconds=90), A_DAY))

    assert first.path == second.path
    assert re.fullmatch(r"[0-9a-f]{32}\.png", first.path.rpartition("/")[2])
    assert [parse_qs(each.query)["X-Amz-Expires"] for each in (first, second)] == [["90"], ["86400"]]
    assert len(parse_qs(first.query)["X-Amz-Signature"][0]) == 64


async def test_no_presigned_url_is_longer_than_a_week_which_is_the_most_that_there_is(blobs: BucketBlobs) -> None:
    assert "X-Amz-Expires=604800" in (blobs.url(new_key("png"), 2 * A_WEEK) or "")


@pytest.mark.parametrize("lives", [timedelta(0), -A_DAY])
async def test_what_is_over_is_not_presigned(blobs: BucketBlobs, lives: timedelta) -> None:
    assert blobs.url(new_key("png"), lives) is None


async def test_a_key_without_an_extension_is_not_presigned(blobs: BucketBlobs) -> None:
    assert blobs.url(new_key(), A_DAY) is None


async def test_nothing_is_presigned_unless_that_was_asked_for(name: str, s3_door: Door, blobs: BucketBlobs) -> None:
    quiet, key = BucketBlobs(name, "some/where"), new_key("png")

    assert quiet.url(key, A_DAY) is None
    assert quiet.key_in(blobs.url(key, A_DAY) or "") is None


async def test_its_own_presigned_urls_are_recognised_and_no_others(
    blobs: BucketBlobs, s3_server: Server, s3_door: Door
) -> None:
    key = new_key("png")
    url = blobs.url(key, A_DAY) or ""
    elsewhere = BucketBlobs(s3_server.new_bucket(), "some/where", presigns=True).url(key, A_DAY) or ""
    deeper = BucketBlobs(urlsplit(url).path.split("/")[1], "some/where/else", presigns=True).url(key, A_DAY) or ""

    assert blobs.key_in(url) == key
    assert blobs.key_in(url + "x") == key  # it names a file; whose that is, is the caller's to judge
    foreign = url.replace("127.0.0.1", "evil.example")
    for other in (elsewhere, deeper, url.partition("?")[0], foreign, "", "https://a/b"):
        assert blobs.key_in(other) is None


@pytest.mark.parametrize("mode", ["shut", "silent", DENIED, BROKEN], ids=["shut", "silent", "denied", "broken"])
async def test_I17_while_the_store_fails_everything_is_unavailable_in_time_and_afterwards_all_is_well(
    blobs: BucketBlobs, s3_door: Door, monkeypatch: pytest.MonkeyPatch, mode: str | bytes
) -> None:
    monkeypatch.setattr(bucket_module, "DEADLINE_S", 0.4)
    key, sha256 = new_key(), await blobs.put(there := new_key(), b"there")
    s3_door.mode = mode
    began = time.monotonic()
    for use in (blobs.put(key, b"x"), blobs.read(there), blobs.delete(there), blobs.belong_to("us")):
        with pytest.raises(Unavailable):
            await use
    with pytest.raises(Unavailable):
        assert [keys async for keys in blobs.keys_older_than(A_DAY)]
    took = time.monotonic() - began
    s3_door.mode = "open"

    assert took < 5
    assert await blobs.read(there, sha256) == b"there"


async def test_a_store_that_trickles_is_given_up_in_time(
    blobs: BucketBlobs, s3_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "DEADLINE_S", 0.5)
    s3_door.mode = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nLast-Modified: Sat, 21 Nov 2026 15:50:29 GMT\r\n\r\nx"

    with pytest.raises(Unavailable):
        await asyncio.wait_for(blobs.read(new_key()), 5)


async def test_a_bucket_that_is_gone_has_not_lost_a_blob_but_is_away(s3_door: Door) -> None:
    gone = BucketBlobs("no-such-bucket-here")

    for use in (gone.read(new_key()), gone.put(new_key(), b"x")):
        with pytest.raises(Unavailable):
            await use


async def test_what_the_store_said_is_logged_and_no_secret_with_it(
    blobs: BucketBlobs, s3_door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    s3_door.mode = DENIED
    with pytest.raises(Unavailable):
        await blobs.put(new_key(), b"x")

    assert "403" in caplog.text
    assert "Signature" not in caplog.text
    assert "secret" not in caplog.text
    assert len(caplog.text.splitlines()) == 1


async def test_a_bucket_that_works_is_opened_and_nothing_is_left_in_it(name: str, s3_door: Door) -> None:
    blobs = await open_bucket(f"s3://{name}/a/b/", presigns=True)

    assert [keys async for keys in blobs.keys_older_than(-A_DAY) if keys] == []


@pytest.mark.parametrize(
    ("mode", "words"), [("shut", "error sending request"), (DENIED, "403"), ("flip", "damaged")], ids=str
)
async def test_a_bucket_that_cannot_be_used_stops_the_start_and_the_store_s_own_words_are_told(
    name: str, s3_door: Door, mode: str | bytes, words: str
) -> None:
    s3_door.mode = mode

    with pytest.raises(ConfigError, match=rf"the bucket s3://{name}/x cannot be used: .*{words}") as raised:
        await open_bucket(f"s3://{name}/x", presigns=False)
    assert "\n" not in str(raised.value)


async def test_a_bucket_that_does_not_answer_stops_the_start(
    name: str, s3_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "DEADLINE_S", 0.2)
    s3_door.mode = "silent"

    with pytest.raises(ConfigError, match="it does not answer"):
        await open_bucket(f"s3://{name}", presigns=False)


async def test_a_bucket_that_does_not_exist_stops_the_start(s3_door: Door) -> None:
    with pytest.raises(ConfigError, match=r"s3://no-such-bucket cannot be used: .*404"):
        await open_bucket("s3://no-such-bucket", presigns=False)


async def test_credentials_that_end_stop_the_start_where_urls_are_to_last(
    name: str, s3_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")

    await open_bucket(f"s3://{name}", presigns=False)
    with pytest.raises(ConfigError, match="leave it off"):
        await open_bucket(f"s3://{name}", presigns=True)


async def test_I13_another_databases_blobs_stop_the_start(name: str, s3_door: Door) -> None:
    await BucketBlobs(name, "one").belong_to("a")
    await BucketBlobs(name, "two").belong_to("b")

    await BucketBlobs(name, "one").belong_to("a")
    with pytest.raises(ConfigError, match="belong to another database"):
        await BucketBlobs(name, "one").belong_to("b")


async def test_a_missing_blob_is_no_fault_and_is_not_logged(
    blobs: BucketBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ResourceNotFound):
        await blobs.read(new_key())

    assert caplog.text == ""
