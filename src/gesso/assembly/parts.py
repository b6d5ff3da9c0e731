"""What an API and a worker share, opened in order and closed in reverse."""

import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gesso.api.outputs import Outputs
from gesso.catalog import Catalog, read_catalog
from gesso.config import Settings
from gesso.core.errors import ConfigError, Unavailable
from gesso.core.ports import Blobs, OnFatal
from gesso.files.addresses import Policy
from gesso.files.blobs import FolderBlobs, just_log
from gesso.files.decoder import Decoder
from gesso.files.fetcher import Fetcher
from gesso.files.shelf import Shelf
from gesso.files.signing import Signer
from gesso.store import opening
from gesso.store.connection import Database
from gesso.store.files import Files
from gesso.store.queue import Queue
from gesso.store.tokens import Tokens

if TYPE_CHECKING:
    from gesso.files.credentials import Credentials

A_DAY = timedelta(days=1)
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - looked for, not bound


def now() -> datetime:
    """The clock of the house."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an API and a worker share."""

    settings: Settings
    catalog: Catalog
    database: Database
    queue: Queue
    files: Files
    tokens: Tokens
    blobs: Blobs
    shelf: Shelf
    policy: Policy
    fetcher: Fetcher


@asynccontextmanager
async def open_parts(settings: Settings, on_fatal: OnFatal = just_log) -> AsyncIterator[Parts]:
    """The shared parts, opened.

    Args:
        on_fatal: told, in any thread, when the process must take no more work and end.

    Raises:
        ConfigError, DefinitionError: when the settings, the data folder, the bucket or a definition cannot be used.
    """
    async with AsyncExitStack() as stack:
        catalog = read_catalog(settings.models_dir)
        blobs = await open_blobs(settings, on_fatal)
        await _require_database(settings, blobs)
        database = opening.open_database(
            settings.database, settings.data_dir, on_fatal,
            connections=settings.database_connections, accept_data_loss=settings.accept_data_loss,
        )  # fmt: skip
        stack.callback(database.close)
        decoder = Decoder()
        stack.push_async_callback(decoder.close)
        policy = fetch_policy(settings)
        fetcher = Fetcher(policy)
        stack.push_async_callback(fetcher.close)
        queue, tokens = Queue(database, attempts=settings.attempts), Tokens(database)
        await blobs.belong_to(hashlib.sha256(await tokens.secret("name of the database")).hexdigest())
        yield Parts(
            settings, catalog, database, queue, Files(database), tokens, blobs, Shelf(blobs, decoder),
            policy, fetcher,
        )  # fmt: skip


async def open_blobs(settings: Settings, on_fatal: OnFatal) -> Blobs:
    """The blobs, in the folder or the bucket that the settings name.

    Raises:
        ConfigError: when they cannot be used, or presigned URLs cannot be given out for as long as files are kept.
    """
    if not settings.blobs:
        if settings.presigned_urls:
            raise ConfigError(reason="presigned_urls needs a bucket: set blobs to s3://bucket/prefix")
        try:
            return FolderBlobs(settings.data_dir / "blobs", on_fatal)
        except Unavailable as fault:
            raise ConfigError(reason=f"the data folder cannot be used: {fault.__cause__}") from fault
    try:
        from gesso.files import bucket  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigError(reason="blobs in a bucket need the extra: pip install 'gesso[server,s3]'") from None
    if settings.presigned_urls and settings.retention > bucket.LONGEST_URL:
        raise ConfigError(reason="a presigned URL lasts 7 days at most: shorten retention, or leave presigned_urls off")
    return await bucket.open_bucket(settings.blobs, presigns=settings.presigned_urls)


async def _require_database(settings: Settings, blobs: Blobs) -> None:
    """Refuse to begin anew beside the pictures of a database that is gone: all of them would be taken for orphans.

    Raises:
        ConfigError: then.
    """
    if opening.is_there(settings.database, settings.data_dir):
        return
    async for keys in blobs.keys_older_than(-A_DAY):  # whatever the clocks say
        if keys:
            place = opening.in_words(settings.database, settings.data_dir)
            raise ConfigError(
                reason=f"the database {place} is missing or empty, but its pictures are there: restore it from a "
                "backup, or move the pictures away to begin anew"
            )


def fetch_policy(settings: Settings) -> Policy:
    """What intake may reach."""
    return Policy(
        allow_http=settings.fetch_allow_http,
        allow_ports=settings.fetch_allow_ports,
        allow_hosts=settings.fetch_allow_hosts,
        allow_private=settings.fetch_allow_private,
    )


def make_credentials(settings: Settings) -> "Credentials | None":
    """What signs outputs, if it is set; tried, so that a process that cannot sign takes no request.

    Raises:
        ConfigError: when nothing can be signed with what is set.
    """
    certificates, key = settings.c2pa_certificates, settings.c2pa_key
    if not certificates and not key:
        return None
    if not certificates or not key:
        raise ConfigError(reason="to sign outputs, set both c2pa_certificates and c2pa_key")
    try:
        from gesso.files.credentials import Credentials  # noqa: PLC0415 - its libraries are an extra
    except ModuleNotFoundError:
        raise ConfigError(reason="signing outputs needs the extra: pip install 'gesso[server,c2pa]'") from None
    try:
        chain, private = certificates.read_bytes(), key.read_bytes()
    except OSError as fault:
        raise ConfigError(reason=f"cannot sign outputs: {fault.filename}: {fault.strerror}") from None
    return Credentials(chain, private, timestamp_url=settings.c2pa_timestamp_url, now=now)


async def make_signer(parts: Parts) -> Signer:
    """What signs file URLs; the same in every process."""
    return Signer(await parts.tokens.secret("file URLs"))


def make_outputs(parts: Parts, signer: Signer, public_url: str) -> Outputs:
    """What gives out the URLs of files."""
    return Outputs(parts.files, parts.blobs, signer, public_url, retention=parts.settings.retention, now=now)


def public_url(settings: Settings, port: int) -> str:
    """What clients reach the server by: as set, else by the address it listens on.

    Raises:
        ConfigError: when the setting is no http URL.
    """
    if settings.public_base_url:
        url = settings.public_base_url.rstrip("/")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(reason=f"public_base_url must be like https://api.example.org, not {url!r}")
        return url
    host = primary_address() if settings.host in WILDCARDS else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def primary_address() -> str:
    """The address by which this machine reaches others; nothing is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
