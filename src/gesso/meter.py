"""What a worker counts: how long requests waited and ran, how they ended, and how long its engines were idle."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

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

    def started(self, model_id: str, waited_s: float) -> None:
        """A first attempt has started, so long after its submit."""
        self._wait.labels(model_id).observe(waited_s)

    def ran(self, model_id: str, seconds: float) -> None:
        """An engine has made pictures in so many seconds."""
        self._run.labels(model_id).observe(seconds)

    def idled(self, model_id: str, seconds: float) -> None:
        """An engine was idle for so long before a run that already waited."""
        self._idle.labels(model_id).observe(seconds)

    def ended(self, model_id: str, outcome: str) -> None:
        """A run has ended: succeeded, failed, lost or released."""
        self._ended.labels(model_id, outcome).inc()

    def text(self) -> str:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry).decode()
