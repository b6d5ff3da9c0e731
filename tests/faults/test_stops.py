"""Workers that sleep past their lease, as a suspended machine does: what they finish late changes nothing."""

import json
import random
import time

import pytest
from conftest import Farms
from doses import dose
from farm import Farm, Process, go_on, soon, stop

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
