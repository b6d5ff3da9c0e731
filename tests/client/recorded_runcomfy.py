"""RunComfy as far as it was recorded, on a real socket and under its own names."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from standin import PNG, Seen, Standin, listening

TAPE = json.loads((Path(__file__).parent / "recorded" / "runcomfy.json").read_text("utf-8"))
EXCHANGES: dict[str, dict[str, Any]] = TAPE["exchanges"]
ID: str = TAPE["request_id"]
MODEL = "wan-ai/wan-2-6/image-to-image"
Answer = tuple[int, dict[str, str], Any]
API, STORAGE = "model-api.runcomfy.net", "playgrounds-storage-public.runcomfy.net"


class RunComfy(Standin):
    """Plays exchanges by their names, and knows no route beside them."""

    @property
    def port(self) -> int | None:
        return urlsplit(self.url).port

    @property
    def base_url(self) -> str:
        """With its own host name; there is no TLS, and the port is the stand-in's."""
        return f"http://{API}:{self.port}"

    @property
    def asked(self) -> list[str]:
        """Each call, in turn."""
        return [f"{each.method} {each.path}" for each in self.seen]

    def plays(self, *names: str) -> "RunComfy":
        """Answer with these exchanges: each call with its own in turn, of which the last one stays."""
        turns: dict[str, list[Answer]] = {}
        for name in names:
            call = self._filled(EXCHANGES[name]["call"])
            turns.setdefault(call, []).append(self._answer(name))
        for call, answers in turns.items():
            self.can(call, *answers)
        return self

    def answer(self, seen: Seen) -> Answer:
        if turns := self.canned.get(f"{seen.method} {seen.path}"):
            return turns.popleft() if len(turns) > 1 else turns[0]
        if seen.headers["host"].startswith(STORAGE):
            return 200, {"Content-Type": "image/jpeg"}, PNG
        return self._answer("no_route")

    def _answer(self, name: str) -> Answer:
        told = EXCHANGES[name]
        if "text" in told:
            return told["status"], {"Content-Type": "text/plain"}, told["text"].encode()
        return told["status"], {}, json.loads(self._filled(json.dumps(told["json"])))

    def _filled(self, text: str) -> str:
        for host in (API, STORAGE):
            text = text.replace(f"https://{host}/", f"http://{host}:{self.port}/")
        return text.replace("{request_id}", ID).replace("{model_id}", MODEL)


@contextmanager
def recorded() -> Iterator[RunComfy]:
    """RunComfy, reached under its own names, which lead to this machine."""
    resolve = socket.getaddrinfo

    def here(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name in (API, STORAGE) else host, *rest, **more)

    runcomfy = RunComfy()
    with listening(runcomfy), patch.object(socket, "getaddrinfo", here):
        yield runcomfy
