"""`/metrics` for Prometheus: the queue as every process sees it, and what each living worker has counted."""

import hmac
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.core.errors import BadToken, NoSuchRoute
from gesso.store.connection import Database
from gesso.store.depth import Depth, depth
from gesso.store.workers import Workers


class Metrics:
    """One target tells of the whole deployment: workers leave their counts beside their heartbeat.

    Args:
        models: the ids of the catalogue; one that nothing waits for is 0, not absent: a scaler can go to nothing.
        token: what a scraper must send as bearer; empty: nothing.

    Attributes:
        port: of the listener on which alone it answers.
    """

    port = -1

    def __init__(self, database: Database, workers: Workers, models: Iterable[str], *, token: str) -> None:
        self._database = database
        self._workers = workers
        self._models = tuple(models)
        self._token = token

    async def serve(self, http: HTTPRequest) -> Response:
        """The metrics, in Prometheus' text format.

        Raises:
            NoSuchRoute: on any other listener than the admin's.
            BadToken: when a token is asked for, and this is not it.
        """
        if http.scope["server"][1] != self.port:
            raise NoSuchRoute
        if self._token and not hmac.compare_digest(http.headers.get("authorization", ""), f"Bearer {self._token}"):
            raise BadToken
        registry = CollectorRegistry()
        queue, lanes = await depth(self._database), await self._workers.lanes()
        registry.register(_Told([*_gauges(self._models, queue, lanes), *_merged(await self._workers.metrics())]))
        return Response(generate_latest(registry), 200, media_type=CONTENT_TYPE_LATEST)


class _Told:
    """Families that were told already, as a collector."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _gauges(models: Iterable[str], queue: Depth, lanes: Mapping[str, int]) -> list[Metric]:
    known = sorted({*models, *queue.waiting, *queue.running})
    told = []
    for name, help, counts in (
        ("gesso_queue_waiting", "Requests that wait.", queue.waiting),
        ("gesso_queue_running", "Requests that run.", queue.running),
        ("gesso_lanes", "Lanes of living workers: how many requests of the model can run at once.", lanes),
    ):
        family = GaugeMetricFamily(name, help, labels=["model"])
        for model in known:
            family.add_metric([model], counts.get(model, 0))
        told.append(family)
    return [*told, GaugeMetricFamily("gesso_intake_waiting", "Requests whose pictures are awaited.", queue.intake)]


def _merged(workers: Mapping[str, str]) -> list[Metric]:
    """The families of all workers, each sample with its worker's name."""
    families: dict[str, Metric] = {}
    for worker, text in workers.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
    return list(families.values())
