"""A real S3 server in a process of its own, spoken to over HTTP, and a door in front of it that breaks on command.

The server is moto's: it takes any signature. `tests/faults/test_blobs_swift.py` asks one that does not.
"""

import os
import select
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2

PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the tests are over, however they end
"""
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


class Server:
    """Somebody's S3.

    Attributes:
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"b{uuid.uuid4().hex}"
        httpx2.put(f"http://127.0.0.1:{self.port}/{name}").raise_for_status()
        return name


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for as long as it is needed."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GESSO_"))}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=quiet,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


class Door:
    """A way to the server at *port*, open until it is told otherwise.

    Attributes:
        url: the endpoint behind the door.
        mode: "open"; "silent": what comes is taken, and nothing is answered; "shut": connections end at once;
            "flip": of what is sent, every "gesso" becomes "gessO"; or the bytes that everybody is answered with.
        heard: what was sent to the server, message by message.
    """

    def __init__(self, port: int) -> None:
        self.mode: str | bytes = "open"
        self.heard: list[bytes] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while self.mode != "shut" and not self._closing.is_set():
                ready, _, _ = select.select([client, server], [], [], 0.05)
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is server:
                        client.sendall(data)
                    else:
                        self._hear(data, client, server)

    def _hear(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        self.heard.append(data)
        match self.mode:
            case bytes() as answer:
                client.sendall(answer)
            case "flip":
                server.sendall(data.replace(b"gesso", b"gessO"))
            case "open":
                server.sendall(data)
