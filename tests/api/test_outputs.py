"""Files out: without a token, behind a signature; never other bytes than those that were stored."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from served import Serve, Served

from gesso.assembly import parts
from gesso.files.signing import Signer


@pytest.fixture(scope="module")
async def url(served: Served) -> str:
    """A picture of the house, 200 for whoever has the URL."""
    return await served.output_url()


@pytest.fixture(scope="module")
async def whole(served: Served, url: str) -> bytes:
    return (await served.client_of(None).get(url)).content


async def fetched(served: Served, url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return await served.client_of(None).request(method, url, headers=headers)


def blob_of(served: Served, url: str) -> Path:
    key = urlsplit(url).path.split("/")[2]
    return next(path for path in served.blobs() if path.name == key)


async def test_a_file_is_served_with_headers_that_let_it_be_nothing_but_a_picture(served: Served, url: str) -> None:
    answer = await fetched(served, url)

    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    name = urlsplit(url).path.rpartition("/")[2]
    assert dict(answer.headers) == {
        "content-type": "image/png",
        "content-length": str(len(answer.content)),
        "content-disposition": f'inline; filename="{name}"',
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "cross-origin",
        "cache-control": "private, max-age=3600",
        "accept-ranges": "bytes",
    }


async def test_the_url_ends_in_a_plain_name_with_a_real_extension_and_holds_128_random_bits(url: str) -> None:
    assert re.search(r"\.(png|jpe?g|webp)(\?|$)", url)
    assert re.fullmatch(
        r"https://api\.example\.org/files/[0-9a-f]{32}/[0-9a-f-]+\.png\?expires=\d+&signature=[\w-]{43}", url
    )


async def test_head_tells_the_length_and_the_headers_of_get(served: Served, url: str) -> None:
    head, get = await fetched(served, url, "HEAD"), await fetched(served, url)

    assert (head.status_code, head.headers) == (200, get.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_file_can_only_be_read(served: Served, url: str, method: str) -> None:
    answer = await fetched(served, url, method)

    assert (answer.status_code, answer.json()["code"]) == (405, 405000)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_no_changed_bit_of_the_signature_is_accepted(served: Served, url: str) -> None:
    start = url.index("signature=") + len("signature=")
    flipped = [
        url[:at] + chr(ord(url[at]) ^ 1 << bit) + url[at + 1 :]
        for at in range(start, len(url))
        for bit in range(7)
        if chr(ord(url[at]) ^ 1 << bit).isalnum() or chr(ord(url[at]) ^ 1 << bit) in "-_"
    ]
    assert len(flipped) > 100

    assert {(await fetched(served, each)).status_code for each in flipped} == {404}


async def test_any_other_url_than_the_signed_one_is_an_unknown_file(served: Served, url: str) -> None:
    path, _, query = url.partition("?")
    signature = parse_qs(query)["signature"][0]
    other = await served.output_url()
    changed = [
        path,
        f"{path}?expires=9999999999&signature={signature}",
        f"{path}?{query.replace('signature', 'Signature')}",
        f"{path}?expires=&signature=",
        f"{path}?expires=%00&signature=%ff",
        f"{path}?{query}x",
        f"{path}?{query.replace('expires=', 'expires=0')}",
        f"{path}?{query.replace('expires=', 'expires=%20')}",
        f"{path.replace('.png', '.jpg')}?{query}",
        f"{other.partition('?')[0]}?{query}",
        "https://api.example.org/files/" + "0" * 32 + f"/x.png?{query}",
        f"https://api.example.org/files/..%2f..%2fgesso.db?{query}",
        f"https://api.example.org/files/%2e%2e/gesso.db?{query}",
        f"https://api.example.org/files/%00/%0a?{query}",
        f"https://api.example.org/files/x/{'a' * 5000}?{query}",
    ]

    answers = [await fetched(served, each) for each in changed]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["code"] for answer in answers} <= {404001, 404000}
    assert len({answer.content for answer in answers[:11]}) == 1


async def test_a_frozen_input_is_never_served(fresh: Served) -> None:
    request_id = await fresh.submit()
    (blob,) = [each.blob for each in (await fresh.parts.queue.get(request_id, "alice")).pictures]
    file = await fresh.parts.files.get(blob or "")
    signer = Signer(await fresh.parts.tokens.secret("file URLs"))

    signed = signer.sign(f"/files/{file.key}/{file.name}", datetime.now(UTC) + timedelta(days=1))

    assert (await fetched(fresh, signed)).status_code == 404


async def test_a_url_is_over_at_its_end(serve_with: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = timedelta(0)
    monkeypatch.setattr(parts, "now", lambda: datetime.now(UTC) + ahead)
    async with serve_with() as served:
        url = await served.output_url()
        end = datetime.fromtimestamp(int(parse_qs(urlsplit(url).query)["expires"][0]), UTC)

        ahead = end - datetime.now(UTC) - timedelta(seconds=5)
        assert (await fetched(served, url)).status_code == 200
        ahead = end - datetime.now(UTC) + timedelta(milliseconds=1)
        assert (await fetched(served, url)).status_code == 404

    assert timedelta(days=6, hours=23) < end - datetime.now(UTC) <= timedelta(days=7)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 1), ("bytes=2-9", 2, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None),
     ("bytes=0-99999999", 0, None), (" bytes=0-3 ", 0, 4), ("bytes=-99999999", 0, None)],
)  # fmt: skip
async def test_one_range_is_served_as_that_part(
    served: Served, url: str, whole: bytes, asked: str, first: int, last: int | None
) -> None:
    answer = await fetched(served, url, Range=asked)

    part = whole[first:last]
    start = first % len(whole)
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(part))
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("asked", ["bytes=-0", "bytes=5-1", "bytes=99999999-", "bytes=99999999-999999999"])
async def test_a_range_that_lies_outside_is_not_satisfiable(served: Served, url: str, whole: bytes, asked: str) -> None:
    answer = await fetched(served, url, Range=asked)

    assert (answer.status_code, answer.json()["code"]) == (416, 416000)
    assert answer.headers["content-range"] == f"bytes */{len(whole)}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,3-4", "bytes=" + ",".join(["0-1"] * 5000), "bytes=a-b", "bytes=-", "bytes=", "items=0-1", "0-1",
     "bytes=0-1-2", "bytes=99999999999999999999-", "bytes=\u0663-"],
)  # fmt: skip
async def test_several_ranges_and_what_is_none_give_the_whole_file(
    served: Served, url: str, whole: bytes, asked: str
) -> None:
    answer = await served.client_of(None).get(url, headers=[(b"Range", asked.encode())])

    assert (answer.status_code, answer.content) == (200, whole)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
@pytest.mark.parametrize("asked", ["", "bytes=0-3"])
async def test_damaged_bytes_are_never_served(served: Served, damage: str, asked: str) -> None:
    url = await served.output_url()
    blob = blob_of(served, url)
    data = bytearray(blob.read_bytes())
    flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    blob.chmod(0o600)
    blob.write_bytes({"flip": flipped, "cut": data[:-1], "grow": data + b"x", "empty": b""}[damage])

    answer = await fetched(served, url, **({"Range": asked} if asked else {}))

    assert (answer.status_code, answer.json()["code"]) == (503, 503001)
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_file_that_is_gone_is_not_found_and_a_planted_link_is_not_followed(served: Served) -> None:
    url = await served.output_url()
    blob = blob_of(served, url)
    blob.unlink()

    assert (await fetched(served, url)).status_code == 404
    blob.symlink_to("/etc/passwd")
    answer = await fetched(served, url)
    assert answer.status_code in (404, 503)
    assert b"root:" not in answer.content


async def test_the_path_is_stable_between_two_reads(fresh: Served) -> None:
    request_id = await fresh.submit()
    await fresh.end()

    paths = {
        urlsplit((await fresh.client.get(f"/v1/requests/{request_id}/result")).json()["output"]["image"]).path
        for _ in range(2)
    }

    assert len(paths) == 1
