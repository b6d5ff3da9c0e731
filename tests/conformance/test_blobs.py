"""What every blob store promises, asked of a folder and of buckets behind real HTTP: moto's, and OpenStack Swift's."""

import asyncio
import hashlib
import os
import random
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
import swift
from obstore.store import S3Store
from s3 import Door, Server

from gesso.core.errors import BlobDamaged, ConfigError, ResourceNotFound
from gesso.core.ports import Blobs
from gesso.files.blobs import FolderBlobs, new_key
from gesso.files.bucket import BucketBlobs

pytestmark = pytest.mark.anyio
AN_HOUR, A_MINUTE = timedelta(hours=1), timedelta(minutes=1)
BAD_KEYS = [
    "",
    "..",
    "../../etc/passwd",
    "a" * 31,
    "A" * 32,
    "a" * 33,
    "a" * 31 + "/",
    "a" * 31 + "\n",
    "a" * 32 + "\n",
    "\0" * 32,
    "-" * 32,
    "a" * 32 + ".",
    "a" * 32 + "./x",
    "a" * 32 + ".p/g",
    "a" * 32 + ".png.png",
]
Damage = Callable[[str, bytes], Awaitable[None]]


class Kind:
    """A kind of blob store, and what a stranger can do to it."""

    def __init__(self, open: Callable[[], Blobs], damage: Damage) -> None:
        self.open, self.damage = open, damage


def folder(root: Path) -> Kind:
    async def damage(key: str, data: bytes) -> None:
        (root / key[:2] / key).write_bytes(data)

    return Kind(lambda: FolderBlobs(root), damage)


def bucket(name: str) -> Kind:
    async def damage(key: str, data: bytes) -> None:
        foreign = S3Store(name, prefix="some/where", client_options={"allow_http": True})
        await obstore.put_async(foreign, f"{key[:2]}/{key}", data)

    return Kind(lambda: BucketBlobs(name, "some/where"), damage)


@pytest.fixture(params=["folder", "bucket", pytest.param("swift", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "folder":
        return folder(tmp_path / "blobs")
    if request.param == "swift":
        request.getfixturevalue("swift_door")
        return bucket(swift.new_bucket(request.getfixturevalue("swift_server")))
    request.getfixturevalue("s3_door")
    server: Server = request.getfixturevalue("s3_server")
    return bucket(server.new_bucket())


@pytest.fixture
def blobs(kind: Kind) -> Blobs:
    return kind.open()


async def all_keys(blobs: Blobs, age: timedelta = -A_MINUTE) -> set[str]:
    return {key async for keys in blobs.keys_older_than(age) for key in keys}


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_a_blob_comes_back_as_it_was(blobs: Blobs, size: int) -> None:
    key, data = blobs.new_key("png"), os.urandom(size)
    sha256 = await blobs.put(key, data, name="a.png", content_type="image/png")

    assert sha256 == hashlib.sha256(data).hexdigest()
    assert await blobs.read(key, sha256) == await blobs.read(key) == data


async def test_keys_have_128_random_bits_and_fit_into_a_url(blobs: Blobs) -> None:
    keys = {blobs.new_key("png") for _ in range(1000)}

    assert len({key[:32] for key in keys}) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{32}(\.png)?", key) for key in keys)


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_what_is_no_key_is_not_found(blobs: Blobs, key: str) -> None:
    with pytest.raises(ResourceNotFound):
        await blobs.put(key, b"x")
    with pytest.raises(ResourceNotFound):
        await blobs.read(key)
    with pytest.raises(ResourceNotFound):
        await blobs.delete(new_key(), key)


async def test_a_blob_that_is_gone_is_not_found_and_deleted_without_complaint(blobs: Blobs) -> None:
    gone, there = new_key(), new_key()
    for key in (gone, there):
        await blobs.put(key, b"x")
    for _ in range(2):
        await blobs.delete(gone)
    await blobs.delete()

    with pytest.raises(ResourceNotFound):
        await blobs.read(gone)
    assert await blobs.read(there) == b"x"


async def test_many_are_deleted_at_once(blobs: Blobs) -> None:
    keys = [new_key("png") for _ in range(30)]
    await asyncio.gather(*(blobs.put(key, key.encode()) for key in keys))
    await blobs.delete(*keys[:20])

    assert await all_keys(blobs) == set(keys[20:])


async def test_what_is_put_is_seen_by_another_process(kind: Kind) -> None:
    key = new_key()
    await kind.open().put(key, b"x")

    assert await kind.open().read(key) == b"x"


async def test_I18_no_flipped_or_missing_byte_is_ever_handed_out(kind: Kind) -> None:
    blobs, dice, handed_out = kind.open(), random.Random(18), 0
    key, data = blobs.new_key("png"), dice.randbytes(5000)
    sha256 = await blobs.put(key, data)
    for _ in range(50):
        at = dice.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        await kind.damage(key, dice.choice([flipped, flipped, data[:at], data[:at] + data[at + 1 :], data + b"\0"]))
        try:
            await blobs.read(key, sha256)
            handed_out += 1
        except BlobDamaged:
            pass
    await kind.damage(key, data)

    assert handed_out == 0
    assert await blobs.read(key, sha256) == data  # it is the bytes that are judged


async def test_I13_the_collector_sees_what_is_old_and_nothing_else(blobs: Blobs, kind: Kind) -> None:
    keys = {new_key(), new_key("png")}
    for key in keys:
        await blobs.put(key, b"x")

    assert await all_keys(blobs, AN_HOUR) == set()
    assert await all_keys(blobs, -A_MINUTE) == keys


async def test_I13_the_collector_sees_all_of_many(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gesso.files.bucket.LISTED_AT_ONCE", 7)
    monkeypatch.setattr("gesso.files.blobs.LISTED_AT_ONCE", 7)
    keys = {new_key() for _ in range(40)}
    await asyncio.gather(*(blobs.put(key, b"") for key in keys))

    assert await all_keys(blobs) == keys


async def test_I13_a_blob_store_belongs_to_the_first_database_that_came_and_to_no_other(kind: Kind) -> None:
    await asyncio.gather(*(kind.open().belong_to("one") for _ in range(3)))
    await kind.open().belong_to("one")

    with pytest.raises(ConfigError, match="belong to another database"):
        await kind.open().belong_to("two")
    assert await all_keys(kind.open()) == set()  # the collector does not see the mark


async def test_a_folder_can_be_copied_into_a_bucket_as_it_lies(
    tmp_path: Path, s3_server: Server, s3_door: Door
) -> None:
    blobs, name = FolderBlobs(tmp_path / "blobs"), s3_server.new_bucket()
    sha256 = await blobs.put(key := new_key(), b"moved")
    bucket = S3Store(name, prefix="pictures", client_options={"allow_http": True})
    for path in (tmp_path / "blobs").rglob("*/*"):
        await obstore.put_async(bucket, str(path.relative_to(tmp_path / "blobs")), path.read_bytes())

    assert await BucketBlobs(name, "pictures").read(key, sha256) == b"moved"
