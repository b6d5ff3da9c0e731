"""From the shared parts to an API."""

from datetime import timedelta
from functools import partial
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
from gesso.api.limits import Budget, Limits, held_body
from gesso.api.metrics import Metrics
from gesso.api.models import Models
from gesso.api.openapi import OpenAPI
from gesso.api.pictures import OwnFiles, Pictures
from gesso.api.rates import Rate
from gesso.api.requests import Requests
from gesso.api.results import Results
from gesso.api.waiting import Lines, Live, Watch
from gesso.assembly.parts import Parts, make_outputs, make_signer, now
from gesso.catalog import read_texts
from gesso.config import Settings
from gesso.core.errors import TooManyCalls, TooManySignIns, TooManySubmits
from gesso.core.wire import Wire
from gesso.files.blobs import new_key
from gesso.playground.pages import Playground
from gesso.store.history import History as Lists
from gesso.store.progress import Progress
from gesso.store.usage import Quota, Usage
from gesso.store.workers import Pace, Workers

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


async def make_api(parts: Parts, public_url: str, admin_port: int = -1) -> app.Gate:
    """The API as an ASGI application; *public_url* is without a slash at the end, /metrics is told on *admin_port*."""
    settings, texts = parts.settings, read_texts()
    wire, languages = Wire(public_url, texts), Languages(texts)
    signer = await make_signer(parts)
    errors = Errors(wire, languages)
    budget = Budget(settings.bodies_in_flight, small=settings.other_body_limit, largest=settings.body_limit)
    outputs = make_outputs(parts, signer, public_url)
    quota = Quota(
        settings.most_open, settings.most_open_per_owner, settings.stored_bytes_per_owner,
        settings.run_seconds_per_owner,
    )  # fmt: skip
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
    gate = make_gate(parts, errors, languages, requests, public_url)
    metrics = Metrics(parts.database, Workers(parts.database), parts.catalog, token=settings.metrics_token)
    metrics.port = admin_port
    door = Door(public_url, partial(held_body, budget))
    gate.stop = partial(send_home, live, door)
    agents = routes_of(door, Pages(parts.catalog, public_url))
    pages = [Route("/metrics", metrics.serve, include_in_schema=False), *make_playground(parts).routes()]
    door.api = app.make_app([*table, *agents, *pages], errors, gate)
    return door.api


def make_gate(parts: Parts, errors: Errors, languages: Languages, requests: Requests, public_url: str) -> app.Gate:
    """What everybody passes on the way in."""
    settings = parts.settings
    gate = app.Gate(
        Auth(parts.tokens), errors, languages, requests, hosts(settings, public_url),
        reads=Rate(settings.reads_per_minute, TooManyCalls),
        bad_tokens=Rate(settings.bad_tokens_per_minute, TooManySignIns),
    )  # fmt: skip
    gate.polls_at_once = parts.database.reads_at_once
    return gate


def send_home(live: Live, door: Door) -> None:
    """Answer everybody who waits for news: the server stops."""
    live.lines.watch.stop()
    door.stop()


def make_playground(parts: Parts) -> Playground:
    """The playground; where results are fetched from the bucket itself, it may show pictures from there."""
    direct = parts.blobs.url(new_key("png"), timedelta(minutes=1))
    bucket = urlsplit(direct) if direct else None
    return Playground(pictures_from=(f"{bucket.scheme}://{bucket.netloc}",) if bucket else ())


def make_live(parts: Parts) -> Live:
    """What those have who wait for news."""
    watch = Watch(Progress(parts.database), parts.database.watchers)
    settings = parts.settings
    lines = Lines(watch, most=settings.most_streams, most_per_owner=settings.most_streams_per_owner)
    return Live(lines, Pace(Workers(parts.database)))


def hosts(settings: Settings, public_url: str) -> frozenset[str]:
    """The Host headers that are answered, IP addresses apart: those cannot be pointed at us by a foreign name."""
    named = urlsplit(public_url).hostname or ""
    return LOOPBACK | {named, settings.host.lower(), *(each.lower() for each in settings.allowed_hosts)}
