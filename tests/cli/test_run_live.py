"""`gesso run` with live events, `gesso requests list` and `watch`."""

import json
import os
import pty
from pathlib import Path

import pytest
from standin import ID, IN_PROGRESS, IN_QUEUE, MODEL, Standin

from gesso.cli.progress import bar, tail, word
from gesso.client.events import Cancelled, Completed, Event, Failed, InProgress, Queued
from gesso.core.errors import GessoError

STREAM = {"Content-Type": "text/event-stream"}
HALF = {"fraction": 0.5, "step": 20, "steps": 40, "eta_seconds": 6.2}
PAGE = {
    "requests": [{"request_id": ID, "model_id": MODEL, "status": "in_progress",
                  "created_at": "2026-11-21T07:45:00.000000+00:00"}],
    "next_cursor": "b3BhcXVl",
}  # fmt: skip


@pytest.fixture
def live(server: Standin) -> Standin:
    """A server with live events."""
    frames = [("status", IN_QUEUE | {"eta_seconds": 12.0}), ("status", IN_PROGRESS), ("progress", HALF),
              ("progress", HALF | {"fraction": 0.6}), ("result", {"request_id": ID, **server.result})]  # fmt: skip
    lines = [f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for id, (name, data) in enumerate(frames, 1)]
    server.can(f"GET /v1/requests/{ID}/events", (200, STREAM, "".join(lines).encode()))
    return server


def test_without_a_terminal_each_change_of_state_is_a_line(gesso, live):
    said = gesso("run", MODEL, "-p", "a cat")

    assert said.stdout == "0b9f0f7e-1.png\n"
    assert said.stderr.splitlines() == [f"request {ID}", "in_queue (position 2)", "in_progress", "completed"]
    assert live.calls("GET", "/status") == []


def test_a_terminal_sees_how_far_it_is_in_one_line(gesso, live):
    ours, theirs = pty.openpty()
    process = gesso.start("run", MODEL, "-p", "a cat", stderr=theirs)
    os.close(theirs)
    stdout, _ = process.communicate(timeout=20)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert stdout == "0b9f0f7e-1.png\n"
    assert "\r\x1b[2Kin_queue (position 2)  about 12 s left" in shown
    assert "\r\x1b[2Kin_progress [############............]  50%  step 20/40  about 6 s left" in shown
    assert shown.rstrip().endswith(" s")


@pytest.mark.parametrize("words", [("--json",), ("-q",)])
def test_programs_and_the_quiet_see_none_of_it(gesso, live, words):
    said = gesso("run", MODEL, "-p", "a cat", *words)

    assert said.exit_code == 0
    assert said.stderr == ""


def test_a_poll_interval_asks_for_polls(gesso, live):
    gesso("run", MODEL, "-p", "a cat", "--poll-secs", "0.01")

    assert live.calls("GET", "/events") == []
    assert live.calls("GET", "/status") != []


@pytest.mark.parametrize(
    ("event", "room", "shown"),
    [
        (Queued(2), 20, "in_queue (position 2)"),
        (Queued(), 20, "in_queue"),
        (InProgress(), 20, "in_progress"),
        (InProgress(0.5), 10, "in_progress [#####.....]  50%"),
        (InProgress(1.0, 4, 4), 4, "in_progress [####] 100%  step 4/4"),
        (InProgress(0.0, 0, 40, 61.7), 100, "in_progress [" + "." * 24 + "]   0%  step 0/40  about 62 s left"),
        (InProgress(0.5), -3, "in_progress  50%"),
        (InProgress(None, 3, None), 20, "in_progress"),
        (Completed({}), 20, "completed"),
        (Failed(GessoError(), {}), 20, "completed"),
        (Cancelled({}), 20, "cancelled"),
    ],
)
def test_this_is_how_it_is_drawn(event: Event, room: int, shown: str):
    assert word(event) + bar(event, room) == shown
    assert bar(event, 0).endswith(tail(event))


def test_own_requests_are_listed(gesso, server):
    server.can("GET /v1/requests", (200, {}, PAGE))
    said = gesso("requests", "list", "--status", "in_progress", "--model", MODEL, "--limit", "5")

    assert said.stdout == f"{ID}  in_progress  2026-11-21T07:45:00  {MODEL}\n"
    assert said.stderr == "there are more: --cursor b3BhcXVl\n"
    assert server.seen[0].query == {"limit": ["5"], "status": ["in_progress"], "model_id": [MODEL]}


def test_everybodys_requests_are_listed_with_their_owners(gesso, server):
    entry = PAGE["requests"][0]
    server.can("GET /v1/requests", (200, {}, {"requests": [entry | {"owner": "bob"}], "admin": True}))
    said = gesso("requests", "list", "--all")

    assert said.stdout == f"{ID}  in_progress  2026-11-21T07:45:00  {MODEL}  bob\n"
    assert server.seen[0].query == {"limit": ["20"], "all": ["true"]}


def test_a_list_is_json_for_programs(gesso, server):
    server.can("GET /v1/requests", (200, {}, PAGE))
    said = gesso("requests", "list", "--cursor", "x", "--json")

    assert (json.loads(said.stdout), said.stderr) == (PAGE, "")
    assert server.seen[0].query["cursor"] == ["x"]


def test_a_request_is_watched_to_its_end(gesso, live):
    said = gesso("requests", "watch", ID, "--download", "--output-dir", "out")

    assert said.stdout == "out/0b9f0f7e-1.png\n"
    assert Path("out/0b9f0f7e-1.png").exists()
    assert said.stderr.splitlines() == ["in_queue (position 2)", "in_progress", "completed"]


def test_a_watched_request_that_fails_exits_1(gesso, server):
    server.fail(502001, "The engine failed.")
    said = gesso("requests", "watch", ID)

    assert (said.exit_code, said.stdout) == (1, "")
    assert "The engine failed." in said.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("requests", "list", "--status", "done"), 64, "--status"),
        (("requests", "list", "--limit", "0"), 64, "--limit"),
        (("requests", "watch"), 64, "REQUEST_ID"),
        (("requests", "watch", "no-such"), 65, "no such request"),
        (("requests", "watch", ID, "--timeout", "0.05"), 75, f"gesso result {ID}"),
        (("requests", "list", "--base-url", "http://127.0.0.1:9"), 69, "gesso up"),
        (("requests", "list", "--token", "wrong"), 77, "gesso login"),
        (("requests", "list", "--base-url", "nowhere"), 78, "base URL"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(gesso, server, words, code, told):
    server.polls[0] = IN_PROGRESS
    said = gesso(*words)

    assert (said.exit_code, said.stdout) == (code, "")
    assert told in said.stderr


def test_ctrl_c_leaves_a_watched_request_alone(gesso, server):
    server.polls[0] = IN_QUEUE
    process = gesso.start("requests", "watch", ID)
    server.polled.wait(20)
    stdout, stderr = gesso.interrupt(process)

    assert (process.returncode, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert server.calls("POST", "/cancel") == []
