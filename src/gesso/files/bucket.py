"""Kept files in a bucket of S3, by key. What `put` has returned was acknowledged with its SHA-256 by the store.

Where the bucket is, and with which rights, is said by AWS's own environment: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or the role of the machine.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gesso.core.errors import ConfigError, ResourceNotFound, Unavailable
from gesso.files.blobs import MARK, checked_bytes, checked_key, is_key, new_key, require_own

if TYPE_CHECKING:
    from obstore import Attributes

CONNECT, RETRIED_FOR = timedelta(seconds=3), timedelta(seconds=6)
DEADLINE_S, SLOWEST = 10, 256 * 1024  # a second more for each so many bytes
ENDLESS = timedelta(hours=1)  # the library's own limit on a message; ours comes first
LISTED_AT_ONCE = 1000
LONGEST_URL = timedelta(days=7)
CACHING = "private, max-age=3600"
TEMPORARY = "X-Amz-Security-Token"
log = logging.getLogger(__name__)


class BucketBlobs:
    """Blobs in a bucket, as `core.ports.Blobs` says; any number of processes may share it.

    Keys lie as in a folder of blobs, so that one can be copied into the other: `prefix/ab/ab…`.

    Args:
        bucket: its name.
        prefix: below which everything lies; may be empty.
        presigns: whether files whose key has an extension are given presigned URLs.
    """

    def __init__(self, bucket: str, prefix: str = "", *, presigns: bool = False) -> None:
        self._presigns = presigns
        # SHA256: the store computes it too, and refuses bytes that are not those; the signature covers it as well.
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            checksum_algorithm="SHA256",
            client_options={"connect_timeout": CONNECT, "timeout": ENDLESS, "allow_http": True},
            retry_config={"max_retries": 2, "retry_timeout": RETRIED_FOR},
        )

    def new_key(self, extension: str) -> str:
        """A key that nobody has. It is the last part of a presigned URL, and clients name files by that."""
        return new_key(extension)

    async def put(self, key: str, data: bytes, *, name: str = "", content_type: str = "") -> str:
        """Keep *data* under *key*; acknowledged on return."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        told: Attributes = {"Content-Type": content_type or "application/octet-stream", "Cache-Control": CACHING}
        if name:
            told["Content-Disposition"] = f'inline; filename="{name}"'
        await self._put(_path(key), data, told)
        return sha256

    async def read(self, key: str, sha256: str | None = None) -> bytes:
        """The whole blob."""
        return await asyncio.to_thread(checked_bytes, await self._get(_path(key)), sha256)

    async def delete(self, *keys: str) -> None:
        """Forget the blobs; missing ones are fine."""
        paths = [_path(key) for key in keys]
        if paths:
            async with _deadline():
                await obstore.delete_async(self._store, paths)

    async def keys_older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys last written more than *age* ago by the store's clock against ours, in no order."""
        limit = datetime.now(UTC) - age
        listed = obstore.list(self._store, chunk_size=LISTED_AT_ONCE)
        while True:
            async with _deadline():
                try:
                    chunk = await anext(listed)
                except StopAsyncIteration:
                    return
            names = [(each["path"].rpartition("/")[2], each["last_modified"]) for each in chunk]
            yield [name for name, written in names if is_key(name) and written < limit]

    async def belong_to(self, database: str) -> None:
        """Leave the database's name in the bucket, unless one is there already.

        Raises:
            ConfigError: when it is another's.
        """
        try:
            found = await self._get(MARK)
        except ResourceNotFound:
            await self._put(MARK, database.encode(), {})
            found = await self._get(MARK)
        require_own(found.decode("utf-8", "replace"), database)

    def url(self, key: str, lives: timedelta) -> str | None:
        """A presigned URL; None where we serve it ourselves. It costs no round trip, given keys that do not end."""
        if not self._presigns or "." not in key or lives <= timedelta(0):
            return None
        return obstore.sign(self._store, "GET", _path(key), min(lives, LONGEST_URL))

    def key_in(self, url: str) -> str | None:
        """The key in a presigned URL, whether or not it is still good."""
        path, _, query = url.partition("?")
        key = path.rpartition("/")[2]
        if not self._presigns or "X-Amz-Signature=" not in query or not is_key(key):
            return None
        ours = obstore.sign(self._store, "GET", _path(key), LONGEST_URL).partition("?")[0]
        return key if path == ours else None

    async def _put(self, path: str, data: bytes, told: "Attributes") -> None:
        async with _deadline(len(data)):
            # One message: the parts of a multipart upload would each have a checksum, the whole none.
            await obstore.put_async(self._store, path, data, attributes=told, use_multipart=False)

    async def _get(self, path: str) -> bytes:
        async with _deadline():
            try:
                got = await obstore.get_async(self._store, path)
            except FileNotFoundError as fault:
                if "NoSuchBucket" in str(fault):
                    raise
                raise ResourceNotFound from None
        async with _deadline(got.meta["size"]):
            return bytes(await got.bytes_async())

    async def require_keys_that_last(self) -> None:
        """Refuse to presign with credentials that end earlier than the URLs.

        Raises:
            ConfigError: when they are temporary, as those of a role are.
        """
        async with _deadline():
            signed = await obstore.sign_async(self._store, "GET", _path(new_key()), LONGEST_URL)
        if TEMPORARY in urlsplit(signed).query:
            raise ConfigError(
                reason="presigned_urls needs an access key that does not end: with a role or a session token the URLs "
                "would end before their files; leave it off, and the API serves the files"
            )


async def open_bucket(url: str, *, presigns: bool) -> BucketBlobs:
    """The blobs at *url*, `s3://bucket/prefix`, tried out.

    Raises:
        ConfigError: when a blob cannot be kept there, read back and removed.
    """
    parts = urlsplit(url)
    try:
        blobs = BucketBlobs(parts.netloc, parts.path.strip("/"), presigns=presigns)
        key = new_key()
        sha256 = await blobs.put(key, b"gesso")
        await blobs.read(key, sha256)
        await blobs.delete(key)
        if presigns:
            await blobs.require_keys_that_last()
    except (Unavailable, ResourceNotFound, BaseError, ValueError) as fault:
        raise ConfigError(reason=f"the bucket {url} cannot be used: {_first_line(fault.__cause__ or fault)}") from None
    return blobs


@asynccontextmanager
async def _deadline(size_bytes: int = 0) -> AsyncIterator[None]:
    """Ends a conversation with the store in time, and tells its faults in our words."""
    try:
        async with asyncio.timeout(DEADLINE_S + size_bytes / SLOWEST):
            yield
    except (BaseError, OSError) as fault:  # a TimeoutError is one, and the FileNotFoundError of a bucket that is gone
        log.warning("the bucket: %s", _first_line(fault))
        raise Unavailable from fault


def _first_line(fault: BaseException) -> str:
    """What the store said; the rest is a dump of the library's own."""
    if isinstance(fault, TimeoutError):
        return "it does not answer, or nobody gives us credentials for it"
    return str(fault).partition("\n")[0].strip()


def _path(key: str) -> str:
    return f"{checked_key(key)[:2]}/{key}"
