"""How a server begins and ends: with a token that is told once, never open to strangers, and with every answer kept."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from live import Line, running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_Z11_an_address_that_others_can_reach_needs_a_token_first(tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", "gesso", "serve", "--host", "0.0.0.0", "--port", str(port), "--data-dir", "house"]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    assert ended.returncode == 78
    assert "gesso tokens create --owner" in ended.stderr
    assert "Traceback" not in ended.stderr
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_Z12_a_fresh_install_tells_its_first_token_once(tmp_path: Path) -> None:
    with running("serve", tmp_path) as live:
        assert live.asked("/v1/models", lines=("Authorization: Bearer no",)).status == 401
        assert live.asked("/v1/models").status == 200
        kept = b"".join(path.read_bytes() for path in live.folder.glob("gesso.db*"))
        token, errors = live.token, live.errors()
    words = [sys.executable, "-m", "gesso", "serve", "--port", "0", "--data-dir", "house"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as second:
        assert second.stdout is not None
        said = "".join(iter(second.stdout.readline, "Stop with Ctrl-C.\n"))
        second.terminate()

    assert token.encode() not in kept
    assert token not in errors
    assert "Gesso listens on http://127.0.0.1:" in said
    assert "gesso_" not in said


def test_Z09_a_submit_during_the_stop_is_durable_or_refused(tmp_path: Path) -> None:
    with running("serve", tmp_path) as live:
        with live.line() as before:
            half = live.message()
            before.say(half[:-5])
            os.kill(live.process.pid, signal.SIGTERM)
            before.say(half[-5:])
            statuses = [status_of(before)]
        while live.process.poll() is None:
            try:
                with live.line() as after:
                    after.say(live.message())
                    statuses.append(status_of(after))
            except ConnectionRefusedError:
                statuses.append(0)
        kept = live.left()[0]

    assert set(statuses) <= {200, 503, 0}
    assert kept == statuses.count(200)


def status_of(line: Line) -> int:
    """The status of an answer; 0 where the connection is closed instead."""
    answer = line.answer()
    return answer.status if answer else 0
