"""What a scraper sees: the queue of the whole deployment, and what every worker has counted."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from script import Script, eventually_now
from server import SCRIPTED, Server

Samples = dict[str, dict[str, float]]


@pytest.fixture(autouse=True)
def _admin(monkeypatch: pytest.MonkeyPatch, start: object) -> None:
    monkeypatch.setenv("GESSO_ADMIN_PORT", "0")
    monkeypatch.setenv("GESSO_METRICS_TOKEN", "scrape-me")


def page(server: Server, token: str = "scrape-me") -> str:
    url = eventually_now(server.admin_url)
    with urlopen(Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return str(answer.read().decode())


def told(server: Server) -> Samples:
    """Sample name -> what it says of the scripted model, by its other label."""
    samples: Samples = {}
    for family in text_string_to_metric_families(page(server)):
        for each in family.samples:
            if each.labels.get("model") == SCRIPTED:
                samples.setdefault(each.name, {})[each.labels.get("outcome", each.labels.get("le", ""))] = each.value
    return samples


@pytest.mark.slow
def test_the_queue_and_the_counts_of_the_worker_are_told(server: Server, scripted: Script) -> None:
    eventually_now(lambda: told(server)["gesso_lanes"][""] == 1)
    first = server.submit("gate:a")
    others = [server.submit(f"n{number}") for number in range(3)]
    busy = eventually_now(lambda: (now := told(server))["gesso_queue_running"] == {"": 1.0} and now)
    scripted.open("a")
    for each in (first, *others):
        server.ended(each)
    done = eventually_now(lambda: (now := told(server)).get("gesso_runs_total", {}).get("succeeded") == 4 and now)

    assert busy["gesso_queue_waiting"] == {"": 3.0}
    assert done["gesso_queue_waiting"] == done["gesso_queue_running"] == {"": 0.0}
    assert done["gesso_wait_seconds_count"] == done["gesso_run_seconds_count"] == {"": 4.0}
    assert done["gesso_engine_idle_seconds_count"] == {"": 3.0}
    assert done["gesso_engine_idle_seconds_sum"][""] < done["gesso_wait_seconds_sum"][""]


def test_metrics_are_told_on_the_admin_listener_alone_and_to_who_has_their_token(server: Server) -> None:
    with pytest.raises(HTTPError) as elsewhere:
        urlopen(Request(f"{server.url}/metrics", headers={"Authorization": "Bearer scrape-me"}), timeout=10)
    with pytest.raises(HTTPError) as foreign:
        page(server, server.token)
    with pytest.raises(HTTPError) as crossed:
        urlopen(Request(f"{server.url}/v1/models", headers={"Authorization": "Bearer scrape-me"}), timeout=10)

    assert (elsewhere.value.code, foreign.value.code, crossed.value.code) == (404, 401, 401)
