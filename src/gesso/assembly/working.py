"""From the shared parts to a worker."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gesso.api.results import Results
from gesso.assembly.parts import Parts, make_credentials, make_outputs, make_signer, now, public_url
from gesso.catalog import read_texts
from gesso.config import Settings
from gesso.core.ports import Extend
from gesso.core.wire import Wire
from gesso.engines.extender import Endpoint, Extender
from gesso.engines.host import Host
from gesso.meter import Meter
from gesso.store.connection import Waiter
from gesso.store.outbox import Outbox
from gesso.store.progress import Progress
from gesso.store.workers import Workers
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

WEBHOOKS = "webhooks"  # the name of the secret that those of the owners are derived from


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
        lanes, meter = make_lanes(parts, waiter, telling.on_step, extender), Meter()
        for lane in lanes:
            lane.meter = meter
        places = Counter(model for lane in lanes for model in lane.models)
        heart = Heart(Workers(parts.database), waiter.name, places, meter)
        beside = [heart.work, telling.work, (await make_sender(parts, Post(parts.policy))).work]
        worker = Worker(lanes, intake, upkeep, grace=settings.grace, beside=beside)
        waiter.on_wake = worker.wake
        yield worker


async def make_sender(parts: Parts, post: Post) -> Sender:
    """What sends webhooks. The URLs in them are those of the API, which may listen elsewhere: by `public_base_url`."""
    url = public_url(parts.settings, parts.settings.port)
    outputs = make_outputs(parts, await make_signer(parts), url)
    results = Results(parts.catalog, outputs, Wire(url, read_texts()))
    return Sender(
        Outbox(parts.database), parts.queue, results.told, post, root=await parts.tokens.secret(WEBHOOKS), now=now
    )  # fmt: skip


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
    credentials = make_credentials(settings)
    runner = Runner(parts.catalog, parts.shelf, extend, credentials.sign if credentials else None)
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
