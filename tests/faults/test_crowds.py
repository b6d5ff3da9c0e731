"""Clients that are slow, many or greedy: they have limits, and others notice nothing."""

import http.client
import socket
import statistics
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from conftest import Farms
from farm import MODEL, Caller, Farm, soon
from server import children

from gesso.api.framing import HEADER_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SLOW = 500
HALF = b"POST /v1/models/tests/scripted HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"


def drip(connections: list[socket.socket], over: threading.Event) -> None:
    """A byte to each, now and then."""
    while not over.wait(1.0):
        for each in connections:
            try:
                each.send(b"a")
            except OSError:
                continue


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536, socket.MSG_DONTWAIT) == b"" or is_closed(connection)
    except BlockingIOError:
        return False
    except OSError:
        return True


def crowd(farm: Farm, planted: str = "") -> tuple[float, float, int]:
    """The median of a submit alone, and beside 500 who never end their header; and how many of those are cut off."""
    caller = farm.caller
    farm.api(planted=planted)
    alone = took(caller)
    over = threading.Event()
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(socket.create_connection(("127.0.0.1", farm.port)))) for _ in range(SLOW)]
        for each in slow:
            each.send(HALF)
        dripping = threading.Thread(target=drip, args=(slow, over))
        dripping.start()
        beside = took(caller)
        ends = time.monotonic() + 2.5 * HEADER_S
        while (cut := sum(map(is_closed, slow))) < SLOW and time.monotonic() < ends:
            time.sleep(0.5)
        over.set()
        dripping.join()
    return alone, beside, cut


def took(caller: Caller) -> float:
    times = []
    for number in range(40):
        began = time.monotonic()
        assert caller.submit(f"remember:{number}").status == 200
        times.append(time.monotonic() - began)
    return statistics.median(times)


def test_I21_half_a_header_from_five_hundred_harms_nobody_and_is_cut_off(farm: Farm) -> None:
    alone, beside, cut = crowd(farm)

    assert cut == SLOW
    assert beside < 5 * alone + 0.05


def test_I21_planted_a_header_without_an_end_is_seen(farms: Farms) -> None:
    assert crowd(farms(), "headers_without_end")[2] < SLOW


def test_I21_five_hundred_connections_that_say_nothing_cost_no_answer(farm: Farm) -> None:
    caller = farm.caller
    api = farm.api()
    open_before = len(list(Path(f"/proc/{api.pid}/fd").iterdir()))
    with ExitStack() as stack:
        connections = [http.client.HTTPConnection("127.0.0.1", farm.port, timeout=30) for _ in range(SLOW)]
        for each in connections:
            stack.enter_context(closing(each))
            each.connect()
        for each in connections:
            each.request("GET", "/v1/balance", headers=caller.headers)
        codes = [each.getresponse().status for each in connections]
    soon(lambda: len(list(Path(f"/proc/{api.pid}/fd").iterdir())) <= open_before + 5)

    assert codes == [200] * SLOW
    assert caller.submit("remember:after").status == 200


def test_I21_large_bodies_at_once_are_limited_told_when_and_cost_bounded_memory(farms: Farms) -> None:
    farm = farms()
    caller = farm.caller
    api = farm.api()
    body = {"prompt": "remember:large", "image_urls": ["data:image/png;base64," + "A" * (40 * 2**20)]}
    answers = []

    def send() -> None:
        try:
            answers.append(caller.ask("POST", f"/v1/models/{MODEL}", body, within_s=120))
        except OSError:
            answers.append(None)  # refused and closed before it was read

    threads = [threading.Thread(target=send) for _ in range(12)]
    for each in threads:
        each.start()
    small = caller.submit("remember:small", within_s=60)
    for each in threads:
        each.join()
    peak = int(
        next(line for line in Path(f"/proc/{api.pid}/status").read_text().splitlines() if "VmHWM" in line).split()[1]
    )
    told = [each for each in answers if each is not None]

    assert small.status == 200
    assert {each.status for each in told} <= {422, 429, 503}
    assert all(int(each.headers["retry-after"]) >= 1 for each in told if each.status in (429, 503))
    assert any(each.status in (429, 503) for each in told) or None in answers
    assert peak < 1_500_000  # kB
    assert len(farm.rows()) == 1


def waits(farm: Farm, owner: str, prompts: list[str]) -> list[float]:
    """Submit all at once; how long each waited for its start, in seconds."""
    caller = Caller(farm.port, farm.token_of(owner))
    requests = {caller.submit(prompt).request_id.replace("-", "") for prompt in prompts}
    soon(lambda: all(row["started_at"] for row in farm.rows() if row["key"] in requests), 200)
    return sorted((row["started_at"] - row["created_at"]) / 1e6 for row in farm.rows() if row["key"] in requests)


def test_I24_one_owners_flood_lets_another_wait_at_most_twice_as_long(farms: Farms) -> None:
    """With a poison request and a hanging image host among the flood."""
    farm = farms(run_timeout="60s")
    farm.api()
    farm.worker()
    prompts = ["slow remember:mine"] * 6  # a second each
    alone = waits(farm, "bob", prompts)
    soon(lambda: all(row["finished_at"] for row in farm.rows()))
    flood = Caller(farm.port, farm.token_of("flood"))
    flood.submit("crash:1")
    for number in range(60):
        flood.submit("slow remember:flood", image="https://192.0.2.1/never.png" if number % 10 == 0 else "")
    flooded = waits(farm, "bob", prompts)
    one = 1.6  # a run, and the engine that is started again after the crash

    assert flooded[-1] <= 2 * alone[-1] + 2 * one + 2


def test_I21_a_server_that_has_nothing_to_do_rests(farm: Farm) -> None:
    caller = farm.caller
    up = farm.up()
    for number in range(3):
        caller.ended(caller.submit(f"remember:{number}").request_id)
    processes = [up.pid, soon(lambda: next(iter(children(up.pid, "work")), 0))]
    before = [spent_s(pid) for pid in processes]
    time.sleep(5)
    spent = [spent_s(pid) - was for pid, was in zip(processes, before, strict=True)]

    assert max(spent) < 1.0


def spent_s(pid: int) -> float:
    """How long a process has kept a processor busy."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
