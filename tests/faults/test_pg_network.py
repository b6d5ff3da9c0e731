"""The way to PostgreSQL breaks: nobody waits long, nothing that was said is unsaid, and all goes on after it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from farm import Caller
from pg import MEMORY, Server, serving
from pg_farm import Network, PgFarm, networked
from script import eventually_now

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
AWAY_S, SILENT_S, BACK_S = 3.0, 5.0, 5.0
Start = Callable[..., PgFarm]


@pytest.fixture
def network(pg_server: Server) -> Iterator[Network]:
    with networked(pg_server) as network:
        yield network


@pytest.fixture
def start(tmp_path: Path, pg_server: Server) -> Iterator[Start]:
    """Makes deployments, each in a folder and a database of its own."""
    made: list[PgFarm] = []

    def make(url: str = "", *, server: Server = pg_server, **settings: str) -> PgFarm:
        made.append(PgFarm(tmp_path / f"farm-{len(made)}", server, url, **settings))
        return made[-1]

    yield make
    for farm in made:
        farm.kill_all()


def took(caller: Caller, path: str) -> tuple[int, float]:
    """The status of an answer, and after how long it came."""
    began = time.monotonic()
    answer = caller.ask("GET", path, within_s=20)
    return answer.status, time.monotonic() - began


def until_it_is_back(caller: Caller, path: str) -> float:
    """How long it takes until there is an answer again."""
    began = time.monotonic()
    eventually_now(lambda: caller.ask("GET", path, within_s=20).status == 200, 20)
    return time.monotonic() - began


@pytest.mark.parametrize(("how", "limit_s"), [("silent", SILENT_S), ("refuse", AWAY_S)])
def test_I20_while_the_way_to_the_database_is_cut_calls_answer_503_and_soon_after_it_all_is_well(
    start: Start, network: Network, how: str, limit_s: float
) -> None:
    farm = start(network.url)
    caller = farm.caller
    farm.api()
    accepted = caller.submit("quick").request_id
    status = f"/v1/requests/{accepted}/status"
    with ThreadPoolExecutor(20) as many:  # so that there are connections to lose
        assert {answer for answer, _ in many.map(lambda _: took(caller, status), range(60))} == {200}
    network.become(how)
    with ThreadPoolExecutor(20) as many:
        polls = list(many.map(lambda _: took(caller, status), range(20)))
        submits = list(many.map(lambda n: caller.submit("quick", key=f"k{n}", within_s=20).status, range(20)))
    alive = took(caller, "/healthz")
    network.become("pass")
    back_s = until_it_is_back(caller, status)

    assert {answer for answer, _ in polls} == set(submits) == {503}
    assert max(seconds for _, seconds in polls) < limit_s
    assert alive[0] == 200
    assert back_s < BACK_S
    again = [caller.submit("quick", key=f"k{n}").request_id for n in range(20)]
    assert len({row["key"] for row in farm.rows()}) == 1 + len(set(again)) == 21


def test_I09_a_worker_to_whom_no_notice_comes_starts_what_is_submitted_all_the_same(
    start: Start, network: Network
) -> None:
    farm = start(network.url)
    caller = farm.caller
    farm.api(also={"GESSO_DATABASE": farm.direct})
    farm.worker()
    caller.ended(caller.submit("pictures:1").request_id, 30)
    network.become("deaf")
    waits = []
    for _ in range(4):
        request = caller.submit("pictures:1").request_id
        caller.ended(request, 20)
        waits.append((farm.row(request)["started_at"] - farm.row(request)["created_at"]) / 1e6)

    assert max(waits) < 2 + 1  # a poll, and a machine that is busy
    assert max(waits) > 0.3  # else they were told, and this shows nothing


def test_I09_a_listener_on_a_silent_network_is_replaced_and_hears_again(start: Start, network: Network) -> None:
    farm = start(network.url)
    caller = farm.caller
    farm.api(also={"GESSO_DATABASE": farm.direct})
    worker = farm.worker()
    caller.ended(caller.submit("pictures:1").request_id, 30)
    network.become("deaf")
    eventually_now(lambda: "wake-ups do not come" in worker.logged(), 30)  # it asked, and was not answered
    network.become("pass")

    def waited_s() -> float:
        request = caller.submit("pictures:1").request_id
        caller.ended(request)
        return float(farm.row(request)["started_at"] - farm.row(request)["created_at"]) / 1e6

    eventually_now(lambda: sum(waited_s() for _ in range(5)) < 1, 20)


def test_I02_a_submit_whose_commit_was_not_answered_is_in_doubt_and_sent_again_is_the_same(
    start: Start, network: Network
) -> None:
    farm = start(network.url)
    caller = farm.caller
    farm.api()
    caller.submit("quick")
    network.become("swallow")
    doubt = caller.submit("quick", key="once", within_s=20)
    again = caller.submit("quick", key="once")

    assert network.swallowed.is_set()
    assert doubt.status == 503
    assert again.status == 200
    assert [row["key"] for row in farm.rows()].count(again.request_id.replace("-", "")) == 1
    assert len(farm.rows()) == 2


def test_I20_a_run_that_ends_while_the_database_is_away_counts(start: Start, network: Network) -> None:
    farm = start(network.url, lease="6s")
    caller = farm.caller
    farm.api(also={"GESSO_DATABASE": farm.direct})
    farm.worker()
    request = caller.submit("gate:go pictures:1").request_id
    eventually_now(lambda: farm.script.begun("gate:go pictures:1"), 30)
    network.become("silent")
    farm.script.open("go")
    eventually_now(lambda: any(line.startswith("end") for line in farm.script.journal()))
    time.sleep(8)  # its lease ends meanwhile: nobody else is there to claim it
    network.become("pass")

    assert caller.ended(request, 30)["status"] == "succeeded"
    assert farm.row(request)["attempt"] == 1


def test_I20_a_database_that_restarts_between_claim_and_answer_costs_no_run(start: Start, tmp_path: Path) -> None:
    with serving(parent=MEMORY) as server:
        farm = start(server=server)
        caller = farm.caller
        farm.api()
        farm.worker()
        request = caller.submit("gate:go pictures:1").request_id
        eventually_now(lambda: farm.script.begun("gate:go pictures:1"), 30)
        server.crash()
        server.start()
        farm.script.open("go")

        assert caller.ended(request, 30)["status"] == "succeeded"
        assert farm.row(request)["attempt"] == 1
        farm.kill_all()


def test_two_deployments_that_are_started_at_once_on_an_empty_database_both_come_up(start: Start) -> None:
    farm = start()
    processes = [farm.start("up", "--port", str(farm.port)), farm.start("up", "--port", "0")]
    for each in processes:
        each.listens()
    caller = farm.caller
    requests = [caller.submit("pictures:1").request_id for _ in range(10)]

    assert {caller.ended(each, 30)["status"] for each in requests} == {"succeeded"}
    assert sum(line.startswith("end") for line in farm.script.journal()) == 10
