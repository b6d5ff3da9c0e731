"""Workers that sleep past their lease, as a suspended machine does: what they finish late changes nothing."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Farms
from doses import dose
from farm import Caller, Farm, Process, go_on, soon, stop
from pg_farm import PgFarm

LEASE_S = 0.6
LATE = ("its output is thrown away", "the lease is lost")


def late(workers: list[Process]) -> int:
    """How often a worker was told that its lease was lost."""
    return sum(worker.logged().count(words) for worker in workers for words in LATE)


def play(farm: Farm, jobs: int) -> list[Process]:
    caller, dice = farm.caller, random.Random(dose("SEED"))
    farm.api()
    workers = [farm.worker() for _ in range(3)]
    for number in range(jobs):
        caller.submit(f"slow remember:{number}")
    ends = time.monotonic() + 20 + 3 * jobs
    while any(row["finished_at"] is None for row in farm.rows()):
        assert time.monotonic() < ends, "stuck"
        worker = dice.choice(workers)
        stop(worker.pid)
        time.sleep(2 * LEASE_S)
        go_on(worker.pid)
        time.sleep(dice.uniform(0.1, 0.8))
    return workers


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_I08_who_slept_past_the_lease_comes_too_late_and_changes_nothing(farms: Farms) -> None:
    farm = farms(lease=f"{round(1000 * LEASE_S)}ms", attempts="1000")
    jobs = dose("STOPS") // 3
    workers = play(farm, jobs)
    soon(lambda: late(workers) > 0)
    rows = farm.rows()
    begun = {
        line.partition(" ")[2]: pid for pid, line in farm.script.lines() if line.startswith("begin")
    }  # the last of each

    assert late(workers) >= 1  # a run in which nobody came late proves nothing
    assert len(rows) == jobs
    assert all("files" in row["outcome"] for row in rows)
    assert all(row["attempt"] == 1 + row["losses"] for row in rows)
    assert any(row["attempt"] > 1 for row in rows)
    assert [row["key"] for row in rows if json.loads(row["outcome"])["notes"]["pid"] not in begun.values()] == []
    assert len(farm.rows("SELECT * FROM files WHERE kind = 'output'")) == jobs


@pytest.fixture(params=["sqlite", "postgres"])
def farm(request: pytest.FixtureRequest, farms: Farms, tmp_path: Path) -> Iterator[Farm]:
    settings = {"lease": f"{round(1000 * LEASE_S)}ms", "attempts": "1000"}
    if request.param == "sqlite":
        yield farms(**settings)
        return
    farm = PgFarm(tmp_path / "pg-farm", request.getfixturevalue("pg_server"), **settings)
    yield farm
    farm.kill_all()


def picture_of(caller: Caller, result: dict[str, Any]) -> bytes:
    """The bytes of its output, by the URL that was told."""
    answer = caller.ask("GET", result["output"]["image"].partition(str(caller.port))[2])
    assert answer.status == 200
    return answer.body


@pytest.mark.slow
@pytest.mark.parametrize("planted", ["rests_after_keeping", "rests_after_keeping+stale_finish"])
def test_I08_I12_planted_who_is_stopped_between_storing_and_finishing_leaves_the_others_picture(
    farm: Farm, planted: str
) -> None:
    caller = farm.caller
    farm.api()
    sleeper = farm.worker(planted=planted)
    request = caller.submit("grey").request_id
    soon((farm.folder / "resting").exists)
    stop(sleeper.pid)
    farm.worker()
    told = caller.ended(request)
    before = picture_of(caller, told)
    go_on(sleeper.pid)
    soon(lambda: LATE[0] in sleeper.logged() or caller.result(request)["output"] != told["output"])
    after = picture_of(caller, caller.result(request))

    assert told["status"] == "succeeded"
    assert farm.row(request)["attempt"] == 2
    assert (after == before) is ("stale_finish" not in planted)
