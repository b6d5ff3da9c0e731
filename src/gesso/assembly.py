"""The only place where parts meet: from settings to an API or a worker, opened in order and closed in reverse."""

import hashlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from starlette.routing import Route

from gesso.agents.door import Door
from gesso.agents.pages import Pages, routes_of
from gesso.api import app
from gesso.api.auth import Auth
from gesso.api.errors import Errors, Languages
from gesso.api.events import Events
from gesso.api.files import Uploads
from gesso.api.health import Health
from gesso.api.history import History
from gesso.api.limits import Budget, Limits
from gesso.api.metrics import Metrics
from gesso.api.models import Models
from gesso.api.openapi import OpenAPI
from gesso.api.outputs import Outputs
from gesso.api.pictures import OwnFiles, Pictures
from gesso.api.rates import Rate
from gesso.api.requests import Requests
from gesso.api.results import Results
from gesso.api.waiting import Lines, Live, Watch
from gesso.catalog import Catalog, read_catalog, read_texts
from gesso.config import Settings
from gesso.core.errors import ConfigError, TooManyCalls, TooManySignIns, TooManySubmits, Unavailable
from gesso.core.ports import Blobs, Extend, OnFatal
from gesso.core.wire import Wire
from gesso.engines.extender import Endpoint, Extender
from gesso.engines.host import Host
from gesso.files.addresses import Policy
from gesso.files.blobs import FolderBlobs, just_log
from gesso.files.decoder import Decoder
from gesso.files.fetcher import Fetcher
from gesso.files.shelf import Shelf
from gesso.files.signing import Signer
from gesso.playground.pages import Playground
from gesso.store import opening
from gesso.store.connection import Database, Waiter
from gesso.store.files import Files
from gesso.store.history import History as Lists
from gesso.store.outbox import Outbox
from gesso.store.progress import Progress
from gesso.store.queue import Queue
from gesso.store.tokens import Tokens
from gesso.store.usage import Quota, Usage
from gesso.store.workers import Pace, Workers
from gesso.webhooks.posting import Post
from gesso.webhooks.sender import Sender
from gesso.worker.ahead import Ahead
from gesso.worker.heart import Heart
from gesso.worker.intake import Intake
from gesso.worker.lane import Lane, OnStep, log_step
from gesso.worker.runner import Runner
from gesso.worker.telling import Telling
from gesso.worker.turns import Seat, Turns
from gesso.worker.upkeep import Upkeep
from gesso.worker.worker import Worker

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
A_DAY = timedelta(days=1)
WEBHOOKS = "webhooks"  # the name of the secret that those of the owners are derived from
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
            raise ConfigError(
                reason=f"the database {opening.in_words(settings.database, settings.data_dir)} is missing or empty, but "
                "its pictures are there: restore it from a backup, or move the pictures away to begin anew"
            )


async def make_api(parts: Parts, public_url: str, admin_port: int = -1) -> app.Gate:
    """The API as an ASGI application; *public_url* is without a slash at the end, /metrics is told on *admin_port*."""
    settings, texts = parts.settings, read_texts()
    wire, languages = Wire(public_url, texts), Languages(texts)
    signer = await make_signer(parts)
    errors = Errors(wire, languages)
    budget = Budget(settings.bodies_in_flight, small=settings.other_body_limit, largest=settings.body_limit)
    outputs = make_outputs(parts, signer, public_url)
    quota = Quota(settings.most_open, settings.most_open_per_owner, settings.stored_bytes_per_owner)
    limits = Limits(budget, Rate(settings.submits_per_minute, TooManySubmits), Usage(parts.database, quota))
    own_files = OwnFiles(public_url, parts.files, parts.blobs, signer, now)
    pictures = Pictures(parts.shelf, own_files, parts.policy, parts.fetcher)
    results = Results(parts.catalog, outputs, wire)
    live = make_live(parts)
    requests = Requests(parts.catalog, parts.queue, pictures, results, limits, live, now)
    table = app.live_routes(
        Events(parts.queue, Progress(parts.database), live, results.body, now), History(Lists(parts.database))
    ) + app.routes(
        requests,
        Models(parts.catalog, wire, balance_usd=settings.balance_usd),
        Uploads(parts.shelf, parts.files, outputs, wire, limits, lifetime=settings.upload_lifetime, now=now),
        outputs,
        Health(parts.database, parts.blobs, Workers(parts.database)),
        OpenAPI(parts.catalog, public_url),
    )
    gate = app.Gate(
        Auth(parts.tokens), errors, languages, requests, hosts(settings, public_url),
        reads=Rate(settings.reads_per_minute, TooManyCalls),
        bad_tokens=Rate(settings.bad_tokens_per_minute, TooManySignIns),
    )  # fmt: skip
    gate.polls_at_once = parts.database.reads_at_once
    gate.stop = live.lines.watch.stop
    metrics = Metrics(parts.database, Workers(parts.database), parts.catalog, token=settings.metrics_token)
    metrics.port = admin_port
    door = Door(public_url)
    agents = routes_of(door, Pages(parts.catalog, public_url))
    door.api = app.make_app([*table, *agents, Route("/metrics", metrics.serve), *Playground().routes()], errors, gate)
    return door.api


def make_live(parts: Parts) -> Live:
    """What those have who wait for news."""
    watch = Watch(Progress(parts.database), parts.database.watchers)
    settings = parts.settings
    lines = Lines(watch, most=settings.most_streams, most_per_owner=settings.most_streams_per_owner)
    return Live(lines, Pace(Workers(parts.database)))


async def make_signer(parts: Parts) -> Signer:
    """What signs file URLs; the same in every process."""
    return Signer(await parts.tokens.secret("file URLs"))


def make_outputs(parts: Parts, signer: Signer, public_url: str) -> Outputs:
    """What gives out the URLs of files."""
    return Outputs(parts.files, parts.blobs, signer, public_url, retention=parts.settings.retention, now=now)


async def make_sender(parts: Parts, post: Post) -> Sender:
    """What sends webhooks. The URLs in them are those of the API, which may listen elsewhere: by `public_base_url`."""
    url = public_url(parts.settings, parts.settings.port)
    outputs = make_outputs(parts, await make_signer(parts), url)
    results = Results(parts.catalog, outputs, Wire(url, read_texts()))
    return Sender(
        Outbox(parts.database), parts.queue, results.told, post, root=await parts.tokens.secret(WEBHOOKS), now=now
    )  # fmt: skip


@asynccontextmanager
async def open_worker(parts: Parts) -> AsyncIterator[Worker]:
    """A worker, not yet running, with its place among the waiters.

    Raises:
        UnknownModel: when the settings name a model that is not there.
    """
    settings = parts.settings
    async with AsyncExitStack() as stack:
        waiter = parts.database.wakeups.listen()
        stack.callback(waiter.close)
        intake = Intake(parts.queue, parts.catalog, parts.fetcher, parts.shelf, holder=waiter.name)
        upkeep = Upkeep(parts.queue, parts.files, parts.blobs, retention=settings.retention)
        telling = Telling(Progress(parts.database))
        extender = make_extender(settings)
        if extender is not None:
            stack.push_async_callback(extender.close)
        lanes = make_lanes(parts, waiter, telling.on_step, extender)
        heart = Heart(Workers(parts.database), waiter.name, Counter(model for lane in lanes for model in lane.models))
        beside = [heart.work, telling.work, (await make_sender(parts, Post(parts.policy))).work]
        worker = Worker(lanes, intake, upkeep, grace=settings.grace, beside=beside)
        waiter.on_wake = worker.wake
        yield worker


def make_extender(settings: Settings) -> Extender | None:
    """What enriches prompts, if it is set.

    Raises:
        ConfigError: when its URL is none, or its key is missing.
    """
    if not settings.prompt_extender:
        return None
    endpoint = Endpoint(
        settings.prompt_extender, settings.prompt_extender_model, settings.prompt_extender_key_env,
        settings.prompt_extender_timeout, settings.prompt_extender_sees,
    )  # fmt: skip
    return Extender(endpoint)


def make_lanes(parts: Parts, waiter: Waiter, on_step: OnStep = log_step, extend: Extend | None = None) -> list[Lane]:
    """A lane for each process of each engine that the worker's models need; models with the same options share them."""
    settings = parts.settings
    runner = Runner(parts.catalog, parts.shelf, extend)
    engines: dict[str, list[str]] = {}
    for model in (parts.catalog[name] for name in settings.models or parts.catalog):
        engines.setdefault(f"{model.engine} {dict(model.engine_options)}", []).append(model.id)
    turns, lanes = Turns(settings.engine_places, settings.engine_turn), list[Lane]()
    for models in engines.values():
        hosts = [make_host(parts, models[0]) for _ in range(settings.engine_processes)]
        # With several processes nobody knows yet which of them will run the next request.
        ahead = Ahead(parts.queue, runner, models, hosts[0].hand_over if len(hosts) == 1 else None)
        seats = [Seat(host, turns) for host in hosts]
        lanes += [
            Lane(parts.queue, runner, each, ahead, holder=waiter.name, lease=settings.lease, on_step=on_step)
            for each in seats
        ]
    return lanes


def make_host(parts: Parts, model_id: str) -> Host:
    """The process of a model's engine, not started."""
    model, settings = parts.catalog[model_id], parts.settings
    return Host(
        model.engine, model.engine_options, run_timeout=settings.run_timeout, step_timeout=settings.step_timeout,
        load_timeout=settings.load_timeout,
    )  # fmt: skip


def fetch_policy(settings: Settings) -> Policy:
    """What intake may reach."""
    return Policy(
        allow_http=settings.fetch_allow_http,
        allow_ports=settings.fetch_allow_ports,
        allow_hosts=settings.fetch_allow_hosts,
        allow_private=settings.fetch_allow_private,
    )


def hosts(settings: Settings, public_url: str) -> frozenset[str]:
    """The Host headers that are answered, IP addresses apart: those cannot be pointed at us by a foreign name."""
    named = urlsplit(public_url).hostname or ""
    return LOOPBACK | {named, settings.host.lower(), *(each.lower() for each in settings.allowed_hosts)}


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
