"""Nothing is acknowledged before it is synced: real processes under strace, and each of them with a sync taken out."""

import os
import shutil
import signal

import pytest
from conftest import Farms
from farm import ECHO, Farm
from gate import Verdict, judge, strace
from server import family
from test_kills import picture

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there: apt-get install strace")
SUBMITS, RUNS = 12, 4
ACCEPTED = r"HTTP/1\.1 200 OK"
ENDED = r'\\"status\\": ?\\"(succeeded|completed)\\"'


def stop_gently(farm: Farm) -> None:
    for process in farm.processes:
        os.kill(family(process.pid)[0], signal.SIGTERM)  # what strace watches
        process.ends(60)


def submits(farm: Farm, planted: str = "") -> Verdict:
    """An API that accepts bodies with and without pictures and keys; each 200 acknowledges."""
    trace, caller = farm.folder / "trace", farm.caller
    farm.api(before=strace(trace), planted=planted)
    for number in range(SUBMITS):
        image = picture() if number % 2 else ""
        answer = caller.submit(f"remember:{number}", image=image, key=f"k{number}" if number % 3 else "", within_s=30)
        assert answer.status == 200, answer
    stop_gently(farm)
    return judge(trace, farm.folder / "data", ACCEPTED)


def runs(farm: Farm, planted: str = "") -> Verdict:
    """A whole server; each answer that shows an output acknowledges it."""
    trace, caller = farm.folder / "trace", farm.caller
    farm.up(before=strace(trace), planted=planted)
    for _ in range(RUNS):
        told = caller.ask("POST", f"/v1/models/{ECHO}", {"image_urls": [picture()]}, within_s=30)
        assert caller.ended(told.request_id, 60)["status"] == "succeeded"
    stop_gently(farm)
    return judge(trace, farm.folder / "data", ENDED)


@pytest.mark.timeout(120)
def test_I01_nothing_is_acknowledged_before_it_is_synced(farm: Farm) -> None:
    verdict = submits(farm)

    assert verdict.acknowledged >= SUBMITS
    assert verdict.too_early == 0, verdict.unsynced


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_I12_no_output_is_shown_before_it_is_synced(farm: Farm) -> None:
    verdict = runs(farm)
    blobs = [path for path in verdict.unsynced if path.startswith("blobs")]

    assert verdict.acknowledged >= RUNS
    assert blobs == []
    assert verdict.too_early <= 1, verdict.unsynced  # a heartbeat may be on its way to the disk at that very moment


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("defect", ["commits_without_sync", "files_without_sync", "folders_without_sync"])
def test_I01_planted_a_sync_that_is_left_out_is_seen(farm: Farm, defect: str) -> None:
    verdict = submits(farm, defect)

    assert verdict.too_early >= SUBMITS // 2, verdict


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("defect", ["files_without_sync", "folders_without_sync"])
def test_I12_planted_a_sync_that_is_left_out_is_seen(farms: Farms, defect: str) -> None:
    verdict = runs(farms(), defect)

    assert [path for path in verdict.unsynced if path.startswith("blobs")], verdict
