"""SIGTERM: what runs ends or is handed back, nothing is lost, and the exit code says that all is well."""

import http.client
import os
import signal
import threading
import time
from contextlib import closing

import pytest
from conftest import Farms
from farm import Answer, Farm, Process, soon
from server import family


def start(farm: Farm, command: str) -> list[Process]:
    """One `up`, or an API and a worker."""
    return [farm.up()] if command == "up" else [farm.api(), farm.worker()]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", ["up", "serve and work"])
@pytest.mark.parametrize("to", ["each", "all at once"])
def test_I22_what_runs_ends_within_the_grace_and_the_code_is_0(farms: Farms, command: str, to: str) -> None:
    """To all at once: as a service manager tells every process of a service, engines included."""
    farm = farms(grace="20s")
    caller, processes = farm.caller, start(farm, command)
    request, waiting = caller.submit("gate:go").request_id, caller.submit("remember:waits").request_id
    soon(lambda: farm.script.begun("gate:go"))
    told = [process.pid for process in processes]
    for pid in told + ([pid for each in told for pid in family(each)] if to == "all at once" else []):
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.5)
    for process in processes:  # harmless
        if process.popen.poll() is None:
            process.signal(signal.SIGTERM)
    farm.script.open("go")
    codes = [process.ends(60) for process in processes]

    assert codes == [0] * len(processes)
    assert (farm.row(request)["state"], farm.row(request)["attempt"]) == ("completed", 1)
    assert farm.row(waiting)["state"] == "in_queue"
    assert not any("another is started" in process.logged() for process in processes)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("defect", ["", "leaves_what_runs"])
def test_I22_planted_what_does_not_end_is_handed_back_at_no_cost(farms: Farms, defect: str) -> None:
    """With the defect planted, the same test is red: the request has lost a holder."""
    farm = farms(grace="1s")
    caller = farm.caller
    farm.api()
    worker = farm.worker(planted=defect)
    request = caller.submit("hang:go").request_id
    soon(lambda: farm.script.begun("hang:go"))
    worker.signal(signal.SIGTERM)
    code = worker.ends(60)
    farm.script.open("go")
    farm.worker()
    result = caller.ended(request, 60)
    unharmed = (farm.row(request)["attempt"], farm.row(request)["losses"]) == (2, 0)

    assert code == 0
    assert result["status"] == "succeeded"
    assert unharmed is not bool(defect)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("defect", ["", "stops_at_once"])
def test_I22_planted_a_message_that_is_under_way_gets_its_answer(farms: Farms, defect: str) -> None:
    farm = farms(grace="20s")
    caller = farm.caller
    api = farm.api(planted=defect)
    body = b'{"prompt": "remember:slow"}'
    answers: list[Answer | None] = []

    def slowly() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", farm.port, timeout=20)) as connection:
            connection.putrequest("POST", "/v1/models/tests/scripted")
            for name, value in {**caller.headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body[:10])
            arrived.set()
            assert stopping.wait(20)
            try:
                connection.send(body[10:])
                told = connection.getresponse()
                answers.append(Answer(told.status, {}, told.read()))
            except (OSError, http.client.HTTPException):
                answers.append(None)

    arrived, stopping = threading.Event(), threading.Event()
    client = threading.Thread(target=slowly)
    client.start()
    assert arrived.wait(20)
    time.sleep(0.3)
    api.signal(signal.SIGTERM)
    soon(lambda: "Shutting down" in api.logged() or api.popen.poll() is not None)
    stopping.set()
    client.join(30)
    code = api.ends(60)
    answered = answers[0] is not None and answers[0].status in (200, 503)

    assert code == 0
    assert answered is not bool(defect)
    assert len(farm.rows()) == sum(answer is not None and answer.status == 200 for answer in answers)
