"""PostgreSQL crashed, and two APIs and four workers killed, over and over: nothing is lost, doubled or stuck."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from doses import dose
from farm import Process, free_port
from pg import MEMORY, Server, serving
from pg_farm import PgFarm
from server import family, kill
from test_kills import Load, verdict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]
ELSEWHERE = "127.0.0.2"
BACK_S = 5.0


@pytest.fixture
def server() -> Iterator[Server]:
    """One that is crashed: it is nobody else's. It has a second address, as of another machine."""
    with serving(f"listen_addresses = '127.0.0.1,{ELSEWHERE}'", parent=MEMORY) as server:
        yield server


@pytest.fixture
def farm(tmp_path: Path, server: Server) -> Iterator[PgFarm]:
    farm = PgFarm(tmp_path / "farm", server, attempts="1000", grace="1s", lease="3s")
    yield farm
    farm.kill_all()


class Outages(threading.Thread):
    """A client that only looks whether the API answers from the database; it knows how long it did not."""

    def __init__(self, farm: PgFarm) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.longest_s = 0.0
        self._caller = farm.caller

    def run(self) -> None:
        well = time.monotonic()
        while not self.over.is_set():
            with suppress(OSError, http.client.HTTPException):
                if self._caller.ask("GET", "/v1/requests?limit=1").status == 200:
                    well = time.monotonic()
            self.longest_s = max(self.longest_s, time.monotonic() - well)
            time.sleep(0.02)


def test_I01_I02_I04_I20_whatever_postgresql_crashes_nothing_is_lost_doubled_or_stuck(
    farm: PgFarm, server: Server
) -> None:
    dice = random.Random(dose("SEED"))
    loads = [Load(farm, f"load{number}") for number in range(4)]
    farm.api()
    for _ in range(2):
        farm.worker()
    outages = Outages(farm)
    for each in (*loads, outages):
        each.start()
    down_s = 0.0
    for _ in range(dose("PG_CRASHES")):
        time.sleep(dice.uniform(0.3, 1.0))
        began = time.monotonic()
        server.crash()
        server.start()
        down_s = max(down_s, time.monotonic() - began)
    time.sleep(1)
    for each in (*loads, outages):
        each.over.set()
        each.join(30)
    wrong = verdict(farm, loads)
    accepted = sum(len(load.acknowledged) for load in loads)
    doubted = sum(len(load.in_doubt) for load in loads)
    print(f"{dose('PG_CRASHES')} crashes of up to {down_s:.1f} s, {accepted} acknowledged, {doubted} in doubt")
    print(f"longest outage {outages.longest_s:.1f} s")

    assert wrong == {name: [] for name in wrong}
    assert accepted > 20
    assert doubted > 0
    assert outages.longest_s < down_s + BACK_S


def test_I01_I07_I09_two_apis_and_four_workers_that_are_killed_at_any_moment_lose_and_double_nothing(
    farm: PgFarm, server: Server
) -> None:
    dice = random.Random(dose("SEED"))
    elsewhere = {"GESSO_DATABASE": farm.direct.replace("127.0.0.1", ELSEWHERE) + "?application_name=elsewhere"}
    ports = [farm.port, free_port()]
    loads = [Load(farm, f"load{number}") for number in range(4)]
    for number, load in enumerate(loads):
        load.caller = farm.on(ports[number % 2])
    apis = [farm.api(port=port) for port in ports]
    workers = [farm.worker(also=elsewhere if number == 0 else {}) for number in range(4)]
    for load in loads:
        load.start()
    for _ in range(dose("PG_KILLS")):
        time.sleep(dice.uniform(0.3, 1.5))
        if dice.random() < 0.3:
            number = dice.randrange(2)
            apis[number].kill()
            apis[number] = farm.api(port=ports[number])
        else:
            number = dice.randrange(4)
            fall(workers[number], dice)
            if workers[number].popen.poll() is not None:
                workers[number] = farm.worker(also=elsewhere if number == 0 else {})
    for load in loads:
        load.over.set()
        load.join(30)
    wrong = verdict(farm, loads, dose("PG_KILLS"))
    accepted = sum(len(load.acknowledged) for load in loads)
    print(f"{dose('PG_KILLS')} kills, {accepted} acknowledged")

    assert wrong == {name: [] for name in wrong}
    assert accepted > 20
    assert server.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'elsewhere'") != [(0,)]


def fall(worker: Process, dice: random.Random) -> None:
    """Kill the worker, or one process below it: an engine, which it replaces."""
    below = family(worker.pid)
    if below and dice.random() < 0.4:
        kill(dice.choice(below))
    else:
        worker.kill()
