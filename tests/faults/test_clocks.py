"""The wall clock jumps: nothing is lost, nothing runs twice for longer than one reclaim, and nothing is stuck."""

import time
from pathlib import Path

import pytest
from conftest import Farms
from farm import Farm, soon
from server import kill

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not there: apt-get install libfaketime"),
]


def with_clock(farm: Farm) -> Path:
    """All processes of *farm* take their time from a file; their timers go on as they are."""
    clock = farm.folder / "clock"
    clock.write_text("+0\n")
    farm.environment |= {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1",
    }  # fmt: skip
    return clock


@pytest.mark.parametrize("jump", ["-3600", "+86400", "-120"])
def test_I19_a_jump_of_the_clock_loses_nothing_and_leaves_nothing_stuck(farms: Farms, jump: str) -> None:
    farm = farms(lease="3s", attempts="20")
    clock, caller = with_clock(farm), farm.caller
    farm.api()
    workers = [farm.worker(planted="sleeps_by_select") for _ in range(2)]
    first = [caller.submit(f"slow remember:{number}").request_id for number in range(4)]
    soon(lambda: sum(line.startswith("begin") for line in farm.script.journal()) >= 2)
    clock.write_text(f"{jump}\n")
    kill(workers[0].pid)  # what it held was given before the jump
    began = time.monotonic()
    second = [caller.submit(f"remember:{number}").request_id for number in range(4)]
    results = [caller.ended(request, 100) for request in (*first, *second)]
    rows = {row["key"]: row for row in farm.rows()}

    assert [result for result in results if result["status"] != "succeeded"] == []
    assert time.monotonic() - began < 90
    assert len(rows) == 8
    assert all(row["attempt"] <= 3 for row in rows.values())
