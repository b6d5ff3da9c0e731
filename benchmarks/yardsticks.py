"""What the answers are held against: nginx, and a bare ASGI application under the same uvicorn, on the same machine.

Both check the Authorization header and answer a constant JSON, as long as a status.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server import family

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
TOKEN = "yardstick"
ID = "0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c11"
URL = f"http://127.0.0.1:8787/v1/requests/{ID}"
ANSWER = (
    f'{{"request_id":"{ID}","status":"in_queue","queue_position":0,'
    f'"status_url":"{URL}/status","result_url":"{URL}/result"}}'
)
CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location / {{ if ($http_authorization != "Bearer {token}") {{ return 401; }} return 200 '{answer}'; }}
    }}
}}
"""


@contextmanager
def nginx() -> Iterator[tuple[int, tuple[str, int]]]:
    """The one worker process of an nginx, and its address."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="gesso-bench-") as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=port, token=TOKEN, answer=ANSWER))
        with _served([NGINX or "", "-c", str(config), "-e", "stderr"], port) as pid:
            yield family(pid)[-1], ("127.0.0.1", port)


@contextmanager
def bare() -> Iterator[tuple[int, tuple[str, int]]]:
    """The process of the bare application, and its address."""
    port = _free_port()
    flags = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "error", "--lifespan", "off"]
    command = [sys.executable, "-m", "uvicorn", "yardsticks:application", "--app-dir", str(Path(__file__).parent)]
    with _served([*command, *flags, "--port", str(port)], port) as pid:
        yield pid, ("127.0.0.1", port)


async def application(scope: dict[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:  # noqa: ARG001
    """The bare application."""
    allowed = (b"authorization", b"Bearer " + TOKEN.encode()) in scope["headers"]
    body = ANSWER.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if allowed else 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def _served(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command)
    try:
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
