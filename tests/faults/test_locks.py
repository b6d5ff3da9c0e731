"""Whoever holds the database's locks and does not let go: others are told within five seconds, and nothing is lost."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Farms
from farm import Caller, Farm, Process, free_port, go_on, soon

from gesso.core.errors import ConfigError
from gesso.store.soundness import require_local

LIMIT_S = 5.0
BACK_S = 5.0


@contextmanager
def locked(farm: Farm, how: str = "IMMEDIATE") -> Iterator[None]:
    """Somebody else, who knows nothing of our lock, in the middle of a transaction."""
    foreign = sqlite3.connect(farm.data / "gesso.db", isolation_level=None)
    foreign.execute(f"BEGIN {how}")
    try:
        yield
    finally:
        foreign.execute("ROLLBACK")
        foreign.close()


@contextmanager
def stopped_in_a_write(farm: Farm) -> Iterator[None]:
    """One of our own processes, suspended inside a transaction: it holds both locks."""
    sign = farm.folder / "stop"
    port = free_port()
    other: Process = farm.api(port=port, planted="stops_in_a_write", also={"STOPS_AT": str(sign)})
    sign.touch()
    with pytest.raises(OSError):  # noqa: PT011 - it never answers
        Caller(port, farm.token).submit("remember:stopped", within_s=1)
    soon(lambda: Path(f"{sign}.{other.pid}").exists())
    try:
        yield
    finally:
        go_on(other.pid)


def told(caller: Caller, prompt: str) -> tuple[int, float]:
    """What a submit is told, and after how long."""
    began = time.monotonic()
    return caller.submit(prompt, within_s=30).status, time.monotonic() - began


def comes_back(farm: Farm, accepted: list[str]) -> None:
    """Submits are taken again within moments, and everything that was ever taken ends well."""
    caller = farm.caller
    began = time.monotonic()
    again = soon(lambda: (answer := caller.submit("remember:again")).status == 200 and answer.request_id)
    took = time.monotonic() - began
    if not any(process.popen.args[-3:-2] == ["work"] for process in farm.processes):
        farm.worker()

    assert took < BACK_S
    assert {caller.ended(request, 40)["status"] for request in (*accepted, again)} == {"succeeded"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I20_a_writer_that_is_stopped_in_mid_write_costs_the_others_five_seconds_and_no_row(farm: Farm) -> None:
    caller = farm.caller
    farm.api()
    accepted = [caller.submit("remember:before").request_id]
    with stopped_in_a_write(farm):
        submitted = told(caller, "remember:while")
        polled = caller.status(accepted[0])

    assert submitted[0] == 503
    assert submitted[1] < LIMIT_S
    assert polled == "in_queue"  # reads wait for no writer
    comes_back(farm, accepted)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I20_a_foreign_lock_costs_five_seconds_and_no_row(farm: Farm) -> None:
    caller = farm.caller
    farm.api()
    accepted = [caller.submit("remember:before").request_id]
    with locked(farm):
        answers = [told(caller, f"remember:{number}") for number in range(2)]

    assert [status for status, _ in answers] == [503, 503]
    assert max(took for _, took in answers) < LIMIT_S
    comes_back(farm, accepted)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I20_a_run_that_ends_while_the_database_is_away_still_counts(farm: Farm) -> None:
    caller = farm.caller
    farm.api()
    farm.worker()
    request = caller.submit("gate:go").request_id
    soon(lambda: farm.script.begun("gate:go"))
    with locked(farm):
        farm.script.open("go")
        soon(lambda: "end gate:go" in farm.script.journal())
        time.sleep(LIMIT_S)  # longer than its first try to write the end
    result = caller.ended(request)

    assert result["status"] == "succeeded"
    assert (farm.row(request)["attempt"], farm.row(request)["losses"]) == (1, 0)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I20_who_starts_while_the_database_is_locked_starts_all_the_same_or_may_try_again(farm: Farm) -> None:
    farm.caller.port  # noqa: B018 - the database is made
    with stopped_in_a_write_of_nobody(farm):
        worker = farm.worker()
        code = worker.ends(60)

    assert code not in (0, 78)  # 78 would end the whole of `up`


@contextmanager
def stopped_in_a_write_of_nobody(farm: Farm) -> Iterator[None]:
    """The writers' own lock, held by somebody who does nothing."""
    import fcntl

    lock = os.open(farm.data / "gesso.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I20_planted_a_wait_without_an_end_is_seen(farms: Farms) -> None:
    farm = farms()
    caller = farm.caller
    farm.api(planted="waits_without_end")
    with stopped_in_a_write(farm), pytest.raises(TimeoutError):
        caller.submit("remember:while", within_s=LIMIT_S + 2)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I22_a_stop_ends_in_its_time_although_the_database_is_away(farms: Farms) -> None:
    farm = farms(grace="2s")
    caller = farm.caller
    farm.api()
    worker = farm.worker()
    caller.submit("gate:go")
    soon(lambda: farm.script.begun("gate:go"))
    with locked(farm):
        farm.script.open("go")
        soon(lambda: "end gate:go" in farm.script.journal())
        began = time.monotonic()
        for process in farm.processes:
            process.signal(signal.SIGTERM)
        worker.ends(60)
        api = farm.processes[0].ends(60)
        took = time.monotonic() - began
    farm.api()
    farm.worker()

    assert took < 2 + 3 * LIMIT_S
    assert api == 0
    assert {caller.ended(row_id(row["key"]))["status"] for row in farm.rows()} == {"succeeded"}


def row_id(key: str) -> str:
    return f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"


MOUNTS = """\
21 28 0:19 / /proc rw,nosuid shared:12 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
90 28 0:52 / /srv/far rw,relatime shared:60 - {kind} server:/export rw
91 90 0:53 / /srv/far/near rw,relatime shared:61 - xfs /dev/sdb1 rw
92 28 0:54 / /srv/a\\040b rw,relatime shared:62 - nfs4 server:/b rw
"""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
@pytest.mark.parametrize("folder", ["/srv/far", "/srv/far/data/of/gesso", "/srv/a b/data"])
def test_I01_a_folder_of_another_machine_is_refused(tmp_path: Path, kind: str, folder: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))

    with pytest.raises(ConfigError, match=r"network file system \((nfs|cifs|smb|fuse)"):
        require_local(Path(folder), mounts)


@pytest.mark.parametrize("folder", ["/", "/srv", "/srv/far/near/data", "/srv/farther", "/srv/a"])
def test_a_folder_of_this_machine_is_taken(tmp_path: Path, folder: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind="nfs"))

    require_local(Path(folder), mounts)
    require_local(Path(folder), tmp_path / "missing")
