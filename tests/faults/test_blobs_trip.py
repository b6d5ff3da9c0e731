"""Real processes on blobs that fail: a disk that refuses a sync, and kills while the blobs are in a bucket."""

import base64
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from s3 import Door
from s3 import Server as S3Server
from script import eventually_now

sys.path.insert(0, str(Path(__file__).parents[1] / "trip"))

from server import ECHO, Server, kill

Start = Callable[..., Server]
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers on one data folder, one after another; what still runs in the end is killed."""
    for name in [name for name in os.environ if name.startswith("GESSO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GESSO_MODELS", ECHO)
    monkeypatch.chdir(tmp_path)
    started: list[Server] = []

    def start(**settings: str) -> Server:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        started.append(Server(tmp_path / "data", started[-1].token if started else None))
        return started[-1]

    yield start
    for server in started:
        server.kill_all()


def data_uri() -> str:
    file = io.BytesIO()
    Image.new("RGB", (400, 400), (10, 120, 200)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def edited(server: Server) -> str:
    """The URL of a picture that went in and came out."""
    told = server.ask(f"/v1/models/{ECHO}", {"image_urls": [data_uri()]})
    result = server.ended(told["request_id"], within_s=30)
    assert result["status"] == "succeeded", result
    return str(result["output"]["image"])


@contextmanager
def failing_syncs(pid: int) -> Iterator[None]:
    """Every fsync of a process fails as on a disk that is dying; SQLite's fdatasync does not."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO"]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL) as tracer:
        eventually_now(lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text())
        yield
        tracer.send_signal(signal.SIGTERM)


@pytest.mark.slow
@needs_strace
def test_I17_an_api_whose_sync_failed_answers_503_and_ends_as_failed_and_the_next_one_has_all_it_had(
    start: Start,
) -> None:
    first = start()
    url, rows = edited(first), len(first.rows())
    with failing_syncs(first.process.pid):
        with pytest.raises(AssertionError, match="503001"):
            first.ask(f"/v1/models/{ECHO}", {"image_urls": [data_uri()]})
        code = first.process.wait(20)
    second = start()

    assert code == 69
    assert "a sync failed, so no more work is taken" in first.log()
    assert len(second.rows()) == rows
    assert second.fetch(second.url + url[len(first.url) :]).startswith(b"\x89PNG")
    assert edited(second)


@needs_strace
@pytest.mark.slow
def test_I17_a_worker_whose_sync_failed_is_replaced_and_its_request_ends_well(start: Start) -> None:
    server = start()
    edited(server)
    worker = server.worker()
    with failing_syncs(worker):
        told = server.ask(f"/v1/models/{ECHO}", {"image_urls": [data_uri()]})
        result = server.ended(told["request_id"], within_s=30)

    assert result["status"] == "succeeded"
    assert server.row(told["request_id"])["losses"] == 0  # handed back, at no cost to it
    assert eventually_now(server.worker) != worker
    assert "a sync failed, so no more work is taken" in server.log()


@pytest.mark.slow
def test_a_picture_goes_in_and_comes_out_by_way_of_a_bucket(start: Start, s3_server: S3Server, s3_door: Door) -> None:
    bucket = f"s3://{s3_server.new_bucket()}/pictures"
    first = start(GESSO_BLOBS=bucket)
    ours = edited(first)
    served = first.fetch(ours)
    first.kill_all()
    second = start(GESSO_BLOBS=bucket, GESSO_PRESIGNED_URLS="true")
    presigned = edited(second)

    assert ours.startswith(first.url)
    assert presigned.startswith(s3_door.url)
    assert pixels(served) == pixels(second.fetch(presigned))
    assert not list((Path.cwd() / "data" / "blobs").glob("*/*"))  # nothing lies on this machine


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_I12_I13_whoever_is_killed_on_a_bucket_every_success_has_its_bytes(
    start: Start, s3_server: S3Server, s3_door: Door, round_: int
) -> None:
    first = start(GESSO_BLOBS=f"s3://{s3_server.new_bucket()}/p")
    body = {"image_urls": [data_uri()]}
    accepted = [first.ask(f"/v1/models/{ECHO}", body)["request_id"] for _ in range(10)]
    time.sleep(0.05 * round_)  # whenever: the moment is what is drawn
    if round_ % 2:
        kill(first.worker())
    first.kill_all()
    second = start()
    for request in accepted:
        result = second.ended(request, within_s=60)
        assert result["status"] == "succeeded"
        assert second.fetch(result["output"]["image"]).startswith(b"\x89PNG")


def pixels(file: bytes) -> bytes:
    """What is seen; the file tells of its own run besides."""
    with Image.open(io.BytesIO(file)) as image:
        return image.tobytes()
