"""The whole trip with real processes, and what becomes of it when they are killed on the way."""

import base64
import io
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from script import Script, eventually_now
from server import ECHO, Server, children, family, kill

from gesso.files.images import encode_png

Start = Callable[[], Server]


def data_uri() -> str:
    data = encode_png(Image.new("RGB", (400, 400), (10, 120, 200)))
    return "data:image/png;base64," + base64.b64encode(data).decode()


def engine(script: Script, prompt: str) -> int:
    """The engine's process, once it runs *prompt*."""
    return eventually_now(lambda: script.begun(prompt))


def test_a_picture_goes_in_and_comes_back_edited(server: Server) -> None:
    told = server.ask(f"/v1/models/{ECHO}", {"image_urls": [data_uri()]})
    result = server.ended(told["request_id"])

    assert result["status"] == "succeeded"
    with Image.open(io.BytesIO(server.fetch(result["output"]["image"]))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (512, 512))
        assert image.getpixel((0, 0)) == (10, 120, 200)


def test_I10_an_engine_that_is_killed_costs_one_attempt_and_no_answer(server: Server, scripted: Script) -> None:
    request = server.submit("gate:go")
    killed = engine(scripted, "gate:go")
    answers: list[str] = []
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            answers.append(server.ask(f"/v1/requests/{request}/status")["status"])

    polling = threading.Thread(target=poll)
    polling.start()
    kill(killed)
    scripted.open("go")
    result = server.ended(request)
    over.set()
    polling.join()

    assert result["status"] == "succeeded"
    assert (server.row(request)["attempt"], server.row(request)["losses"]) == (2, 1)
    assert set(answers) <= {"in_progress", "completed"}  # I6: never back in the queue
    assert len(answers) > 5


def test_I09_a_worker_that_is_killed_is_replaced_and_its_request_ends(server: Server, scripted: Script) -> None:
    request = server.submit("gate:go")
    engine(scripted, "gate:go")
    killed = server.worker()
    kill(killed)
    began = time.monotonic()
    scripted.open("go")
    result = server.ended(request)

    assert result["status"] == "succeeded"
    assert time.monotonic() - began < 10  # its lease would have lasted 30 s
    assert server.row(request)["attempt"] == 2
    assert server.worker() != killed


def test_I01_what_was_accepted_ends_well_after_the_server_was_killed(start: Start, scripted: Script) -> None:
    first = start()
    running = first.submit("gate:go")
    engine(scripted, "gate:go")
    waiting = [first.submit(f"n{number}") for number in range(5)]
    first.kill()
    scripted.open("go")
    second = start()
    results = [second.ended(request, within_s=10) for request in (running, *waiting)]

    assert [result["status"] for result in results] == ["succeeded"] * 6


def test_I01_of_forty_accepted_requests_none_is_lost_and_none_doubled_when_all_is_killed(
    start: Start, scripted: Script
) -> None:
    first = start()
    requests = [first.submit(f"gate:go n{number}") for number in range(40)]
    engine(scripted, "gate:go n0")
    first.kill_all()
    scripted.open("go")
    second = start()
    results = [second.ended(request, within_s=20) for request in requests]
    rows = second.rows()

    assert [result["status"] for result in results] == ["succeeded"] * 40
    assert sorted(rows) == sorted(request.replace("-", "") for request in requests)
    assert all(row["attempt"] == 1 + row["losses"] for row in rows.values())
    assert sum(row["losses"] for row in rows.values()) == 1  # the one that ran
    finished = [line for line in scripted.journal() if line.startswith("end")]
    assert len(finished) == len(set(finished)) == 40


def test_I22_sigterm_finishes_what_runs_and_a_second_one_is_harmless(server: Server, scripted: Script) -> None:
    request = server.submit("gate:go")
    engine(scripted, "gate:go")
    below = family(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    eventually_now(lambda: "Shutting down" in server.log())
    server.process.send_signal(signal.SIGTERM)
    eventually_now(lambda: "Finished server process" in server.log())
    scripted.open("go")
    code = server.process.wait(15)

    assert code == 0
    assert (server.row(request)["state"], server.row(request)["attempt"]) == ("completed", 1)
    eventually_now(lambda: not any(children(pid) for pid in below))
    assert "Traceback" not in server.log()


def test_I22_an_idle_server_ends_within_moments_and_leaves_no_process(server: Server) -> None:
    server.worker()
    below = family(server.process.pid)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(15) == 0
    assert time.monotonic() - began < 5
    assert below


def test_I22_a_server_that_is_stopped_as_soon_as_it_has_spoken_ends(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(15) == 0


def test_I22_ctrl_c_ends_an_idle_server_and_starts_nothing_new(server: Server) -> None:
    server.ended(server.submit("quick"))
    group = os.getpgid(server.worker())
    os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does: to the whole group

    assert group != server.process.pid  # the worker is told by its server, in its own time
    assert server.process.wait(15) == 0
    assert "another is started" not in server.log()


def test_I09_killing_the_server_leaves_no_process_behind(server: Server, scripted: Script) -> None:
    server.ended(server.submit("quick"))
    below = family(server.process.pid)
    server.kill()

    assert len(below) >= 3
    eventually_now(lambda: not any(map(is_there, below)))


def test_a_waiting_worker_starts_a_request_at_once(server: Server) -> None:
    server.ended(server.submit("first"))
    requests = [server.submit(f"n{number}") for number in range(20) if server.ended(server.submit(f"m{number}"))]
    for request in requests:
        server.ended(request)
    waits = [(row["started_at"] - row["created_at"]) / 1e6 for row in map(server.row, requests)]

    assert statistics.median(waits) < 0.2  # far from the 2 s of a poll


def is_there(pid: int) -> bool:
    """Whether it runs; one that only waits to be asked for has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(20))
def test_I01_whoever_is_killed_whenever_nothing_accepted_is_lost(start: Start, scripted: Script, round_: int) -> None:
    first = start()
    scripted.open("go")
    accepted = []
    for number in range(20 + 3 * round_):
        accepted.append(first.submit(f"gate:go n{number}"))
        if number == 3 * round_:
            kill(first.worker() if round_ % 2 else engine(scripted, "gate:go n0"))
    first.kill_all()
    second = start()

    assert {second.ended(request, within_s=30)["status"] for request in accepted} == {"succeeded"}
