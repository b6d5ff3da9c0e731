"""What a worker counts: how long requests waited and ran, how they ended, and how long its engines were idle."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gesso.core.request import Request

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600, 1800, 3600)
IDLE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Meter:
    """The counts of one process. Its calls cost microseconds."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        model = ["model"]
        self._wait = Histogram(
            "gesso_wait_seconds", "From a submit to its start.", model, buckets=SECONDS, registry=registry
        )
        self._run = Histogram(
            "gesso_run_seconds", "From the start of a run to its pictures.", model, buckets=SECONDS, registry=registry
        )
        self._idle = Histogram(
            "gesso_engine_idle_seconds", "Between two runs, while the second already waited.", model,
            buckets=IDLE_SECONDS, registry=registry,
        )  # fmt: skip
        self._ended = Counter(
            "gesso_runs", "Runs by how they ended: succeeded, failed, lost, released.", ["model", "outcome"],
            registry=registry,
        )  # fmt: skip

        self._last_end: dict[int, tuple[float, datetime]] = {}

    def claimed(self, request: Request) -> None:
        """A claim; a first one tells how long the request waited."""
        if request.attempt == 1 and request.started_at is not None:
            self._wait.labels(request.model_id).observe((request.started_at - request.created_at).total_seconds())

    @contextmanager
    def running(self, request: Request, lane: object) -> Iterator[None]:
        """Around a run of *lane*'s engine: how long it takes, and how long the engine was idle while it waited."""
        began = time.monotonic()
        ended, at = self._last_end.get(id(lane), (began, request.created_at))
        if request.created_at < at:
            self._idle.labels(request.model_id).observe(began - ended)
        try:
            yield
        finally:
            self._last_end[id(lane)] = (time.monotonic(), datetime.now(UTC))
        self._run.labels(request.model_id).observe(time.monotonic() - began)

    def ended(self, request: Request, outcome: str) -> None:
        """A run has ended: succeeded, failed, lost or released."""
        self._ended.labels(request.model_id, outcome).inc()

    def text(self) -> str:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry).decode()
