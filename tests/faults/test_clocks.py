"""The wall clock jumps: nothing is lost, nothing runs twice for longer than one reclaim, and nothing is stuck."""

import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Farms
from farm import Farm, go_on, soon, stop

JUMPS = ["-3600", "+86400"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def set_clock(farm: Farm, off_s: str) -> None:
    """All processes take the wall clock's error from this file; it is changed at one instant."""
    fresh = farm.folder / "clock.new"
    fresh.write_text(off_s)
    fresh.rename(farm.folder / "clock")


def play(farm: Farm, jump: str, planted: str = "clock_of_a_file", within_s: float = 60) -> list[dict[str, Any]]:
    """A worker is suspended in mid-run, the clock jumps, and another goes on; the results of all requests."""
    set_clock(farm, "0")
    how = {"planted": planted, "also": {"CLOCK": str(farm.folder / "clock")}}
    caller = farm.caller
    farm.api(**how)
    first = farm.worker(**how)
    held = caller.submit("gate:go").request_id
    soon(lambda: farm.script.begun("gate:go"))
    stop(
        first.pid
    )  # what it holds was given before the jump, and it lives: only the clock can tell that its lease is over
    set_clock(farm, jump)
    farm.worker(**how)
    others = [caller.submit(f"remember:{number}").request_id for number in range(4)]
    farm.script.open("go")
    results = [caller.ended(request, within_s) for request in (held, *others)]
    go_on(first.pid)
    return results


@pytest.mark.parametrize("jump", JUMPS)
def test_I19_a_jump_of_the_clock_loses_nothing_and_leaves_nothing_stuck(farms: Farms, jump: str) -> None:
    farm = farms(lease="4s")
    began = time.monotonic()
    results = play(farm, jump)
    rows = farm.rows()

    assert {result["status"] for result in results} == {"succeeded"}
    assert len(rows) == 5
    assert all(row["attempt"] <= 2 for row in rows)
    assert time.monotonic() - began < 120


def test_I19_planted_a_lease_of_tomorrow_that_holds_is_seen(farms: Farms) -> None:
    with pytest.raises(AssertionError, match="not within"):
        play(farms(lease="4s"), "-3600", "clock_of_a_file+lease_of_tomorrow_holds", 25)


def test_the_clock_is_read_where_it_can_be_moved() -> None:
    """Else the tests above move a clock that nobody looks at."""
    source = Path(__file__).parents[2] / "src" / "gesso"
    readers = {path.relative_to(source).as_posix() for path in source.rglob("*.py")
               if "datetime.now(" in path.read_text() and not path.is_relative_to(source / "client")}  # fmt: skip

    assert readers <= {"assembly/parts.py", "meter.py", "files/bucket.py", "cli/webhooks.py"}
