"""Hosts of pictures that hang, drip, change and go away: each request has one, and nobody waits for another's."""

import hashlib
import http.server
import io
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Farms
from doses import dose
from farm import Caller, Farm, soon
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


class Handler(http.server.BaseHTTPRequestHandler):
    """The path says how it answers: /KIND/NUMBER.png."""

    server: "Hosts"

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        data = png(self.path, self.server.served[self.path] if kind == "changing" else 0)
        self.server.asked[self.path] += 1
        if kind == "hanging" and not self.server.opened.wait(120):
            return
        if kind == "gone" and self.server.asked[self.path] > 1:
            self.send_error(404)
            return
        self.server.bodies[self.path].add(hashlib.sha256(data).hexdigest())  # before whoever gets it can be done
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for start in range(0, len(data), 200):
            self.wfile.write(data[start : start + 200])
            time.sleep(0.05 if kind == "dripping" else 0)
        self.server.served[self.path] += 1

    def log_message(self, *_: Any) -> None: ...


class Hosts(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("", 0), Handler)
        self.asked, self.served = Counter[str](), Counter[str]()
        self.bodies: dict[str, set[str]] = defaultdict(set)
        self.opened = threading.Event()

    def url(self, kind: str, number: int) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{kind}/{number}.png"


def png(path: str, version: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (400, 400), (version % 256, len(path) % 256, 9)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    server = Hosts()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.opened.set()
    server.shutdown()
    server.server_close()


def farm_of(farms: Farms, hosts: Hosts) -> Farm:
    return farms(
        fetch_allow_http="true",
        fetch_allow_private="true",
        fetch_allow_ports=str(hosts.server_address[1]),
        attempts="50",
    )


def test_I15_each_request_runs_on_the_first_bytes_that_came_though_the_intake_is_killed(
    farms: Farms, hosts: Hosts
) -> None:
    farm, dice = farm_of(farms, hosts), random.Random(dose("SEED"))
    caller = farm.caller
    farm.api()
    worker = farm.worker()
    kinds = ["good", "changing", "dripping", "gone"]
    urls = [hosts.url(dice.choice(kinds), number) for number in range(dose("HOSTS"))]
    requests = [caller.submit("remember:1", image=url).request_id for url in urls]
    soon(lambda: sum(hosts.served.values()) > len(urls) // 3)
    worker.kill()
    frozen = pictures(farm)
    farm.worker()
    results = [caller.ended(request, 120) for request in requests]
    after = pictures(farm)

    assert [result for result in results if result["status"] != "succeeded" and result["error"]["code"] != 422002] == []
    assert {key: after[key] for key in frozen} == frozen  # what was frozen stays as it was
    for key, (url, sha256) in after.items():
        path = "/" + url.split("/", 3)[3]
        assert sha256 in hosts.bodies[path], key
        assert hosts.served[path] <= 2  # once, and once more after the kill


def pictures(farm: Farm) -> dict[str, tuple[str, str]]:
    """Request -> the URL of its picture and the checksum of what is kept of it."""
    told = {row["key"]: json.loads(row["pictures"])[0] for row in farm.rows() if row["ready"]}
    return {key: (picture["url"], picture["sha256"]) for key, picture in told.items()}


def beside_a_flood(farm: Farm, hosts: Hosts, planted: str = "") -> tuple[float, float]:
    """How long one owner's request waits alone, and at most beside another's 150 whose pictures hang."""
    farm.api()
    farm.worker(planted=planted)
    flood, bob = Caller(farm.port, farm.token_of("flood")), Caller(farm.port, farm.token_of("bob"))

    def served(number: int) -> float:
        elsewhere = hosts.url("good", number).replace("127.0.0.1", "127.0.0.2")
        request = bob.submit("remember:0", image=elsewhere).request_id
        assert bob.ended(request, 25)["status"] == "succeeded"
        return waited(farm, request)

    alone = served(0)
    for number in range(150):
        flood.submit("remember:1", image=hosts.url("hanging", number))
    soon(lambda: sum(hosts.asked.values()) > 2)
    try:
        return alone, max(served(1 + number) for number in range(5))
    finally:
        hosts.opened.set()


def comes_at_once(farm: Farm, hosts: Hosts, planted: str = "") -> bool:
    try:
        alone, beside = beside_a_flood(farm, hosts, planted)
    except AssertionError:  # it did not come at all
        return False
    return beside <= 2 * alone + 2


def test_I24_the_hanging_pictures_of_one_owner_let_anothers_come_at_once(farms: Farms, hosts: Hosts) -> None:
    assert comes_at_once(farm_of(farms, hosts), hosts)


def test_I24_planted_an_intake_that_knows_no_owners_is_seen(farms: Farms, hosts: Hosts) -> None:
    assert not comes_at_once(farm_of(farms, hosts), hosts, "intake_knows_no_owners")


def waited(farm: Farm, request: str) -> float:
    row = farm.row(request)
    return float(row["started_at"] - row["created_at"]) / 1e6
