"""kill -9 at any moment, again and again, under load: what was acknowledged ends, once, and nothing else is there."""

import base64
import hashlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from conftest import Farms
from doses import dose
from farm import Farm, Process
from PIL import Image
from server import family, kill

from gesso.files.images import encode_png

RANKS = {"in_queue": 0, "in_progress": 1, "completed": 2, "cancelled": 2}
MOST_OPEN = 60


@cache
def picture() -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(Image.new("RGB", (400, 400), "red"))).decode()


@dataclass
class Load(threading.Thread):
    """A client that submits while few of its requests wait, each under a key that it repeats until there is an answer;
    and polls those that are next, or run.
    """

    farm: Farm
    name_: str
    over: threading.Event = field(default_factory=threading.Event)
    acknowledged: dict[str, str] = field(default_factory=dict)
    in_doubt: Counter[str] = field(default_factory=Counter)
    refused: list[bytes] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.dice = random.Random(self.name_)
        self.caller = self.farm.caller

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            if len(self.open()) < MOST_OPEN:
                number += 1
                self.submit(f"{self.name_}-{number}")
            self.poll()

    def open(self) -> list[str]:
        """Those that have not been seen to have ended, oldest first."""
        return [each for each in self.acknowledged.values() if self.ranks.get(each, 0) < RANKS["completed"]]

    def submit(self, key: str) -> None:
        image = picture() if self.dice.random() < 0.2 else ""
        while not self.over.is_set():
            try:
                answer = self.caller.submit(key_prompt(key), key=key, image=image)
            except (OSError, http.client.HTTPException):
                self.in_doubt[key] += 1
                time.sleep(0.02)
                continue
            if answer.status == 200:
                self.acknowledged[key] = answer.request_id
                return
            self.in_doubt[key] += 1
            if answer.status != 503:
                self.refused.append(answer.body)
                return
            time.sleep(0.02)

    def poll(self) -> None:
        unended = self.open()
        running = [each for each in unended if self.ranks.get(each) == RANKS["in_progress"]]
        request = self.dice.choice(running or unended[:4] or [""])
        if not request:
            return
        try:
            answer = self.caller.ask("GET", f"/v1/requests/{request}/status")
        except (OSError, http.client.HTTPException):
            return
        if answer.status == 404:
            self.not_found.append(request)
        elif answer.status == 200:
            rank = RANKS[answer.told["status"]]
            if rank < self.ranks.get(request, 0):
                self.went_back.append(request)
            self.ranks[request] = rank


def key_prompt(key: str) -> str:
    """A prompt that the scripted engine obeys, different for each key: a fingerprint is of the input."""
    return f"{'slow' if key.endswith('0') else 'pictures:1'} remember:{key}"  # some are long enough to be seen running


def lives(farm: Farm, cycles: int, planted: str) -> list[Load]:
    """Two APIs' worth of lives under load; in each cycle somebody is killed, and begun anew."""
    dice = random.Random(dose("SEED"))
    loads = [Load(farm, f"load{number}") for number in range(3)]
    api, workers = farm.api(planted=planted), [farm.worker(planted=planted) for _ in range(2)]
    for load in loads:
        load.start()
    for _ in range(cycles):
        time.sleep(dice.uniform(0.1, 0.7))
        victim = dice.choice(["api", "api", "worker", "engine", "all"])
        if victim in ("api", "all"):
            api.kill()
        if victim in ("worker", "all"):
            one = dice.choice(workers)
            one.kill()
            workers = [farm.worker(planted=planted) if each is one else each for each in workers]
        if victim == "engine":
            for pid in below(dice.choice(workers)):
                kill(pid)
        if victim in ("api", "all"):
            api = farm.api(planted=planted)
    for load in loads:
        load.over.set()
        load.join(30)
    return loads


def below(worker: Process) -> list[int]:
    return family(worker.pid)


def all_ended(farm: Farm) -> None:
    """Wait until every request has ended; stuck is when none does for longer than a lease and a sweep."""
    left, since = -1, time.monotonic()
    while now := sum(row["finished_at"] is None for row in farm.rows()):
        if now != left:
            left, since = now, time.monotonic()
        assert time.monotonic() - since < 45, f"{now} requests are stuck"
        time.sleep(0.2)


def verdict(farm: Farm, loads: list[Load], kills: int = 0) -> dict[str, list[object]]:
    """What is wrong, by invariant; nothing is, when all lists are empty."""
    acknowledged = {request.replace("-", "") for load in loads for request in load.acknowledged.values()}
    all_ended(farm)
    rows = {row["key"]: row for row in farm.rows()}
    keys = {row["key"] for row in farm.rows("SELECT lower(hex(request)) AS key FROM once")}
    return {
        "I01 lost": [each for each in acknowledged if each not in rows],
        "I02 doubled": [key for key in rows if key not in keys and key not in acknowledged],
        "I03 refused": [body for load in loads for body in load.refused],
        "I04 not succeeded": [
            dict(row) for row in rows.values() if row["outcome"] is None or "files" not in row["outcome"]
        ],
        "I06 went back": [each for load in loads for each in load.went_back + load.not_found],
        "I08 attempts": miscounted(list(rows.values()), kills),
        "I12 not as recorded": [file["key"] for file in farm.rows("SELECT * FROM files") if not is_whole(farm, file)],
    }


def miscounted(rows: Sequence[Any], kills: int) -> list[object]:
    """Requests whose attempts are not their losses and one more.

    An engine that dies with another's pictures still on their way costs that one an attempt which is not counted as a
    loss: one for each kill at the most.
    """
    free = [row["attempt"] - 1 - row["losses"] for row in rows]
    is_bounded = sum(free) <= kills
    return [dict(row) for row, more in zip(rows, free, strict=True) if more < 0 or (more > 0 and not is_bounded)]


def is_whole(farm: Farm, file: object) -> bool:
    """Whether a file is there, with the bytes that its row says."""
    path = farm.data / "blobs" / file["key"][:2] / file["key"]  # type: ignore[index]
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]  # type: ignore[index]


def play(farms: Farms, cycles: int, planted: str = "") -> tuple[list[Load], dict[str, list[object]]]:
    farm = farms(attempts="1000", grace="1s")
    loads = lives(farm, cycles, planted)
    return loads, verdict(farm, loads, cycles)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_I01_I02_I04_I06_I12_whoever_is_killed_whenever_nothing_is_lost_doubled_or_stuck(farms: Farms) -> None:
    loads, wrong = play(farms, dose("KILLS"))
    accepted, doubted = (sum(len(each) for each in told) for told in
                         zip(*((load.acknowledged, load.in_doubt) for load in loads), strict=True))  # fmt: skip
    print(f"{dose('KILLS')} kills, {accepted} acknowledged, {doubted} in doubt for a while")

    assert wrong == {name: [] for name in wrong}
    assert accepted > 10 * dose("KILLS") ** 0.5
    assert doubted > 0


SEEN = {
    "acknowledged_too_early": "I01",
    "keys_are_forgotten": "I02",
    "status_goes_back": "I06",
    "row_before_blob": "I12",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("defect", SEEN)
def test_planted_defects_are_seen_by_the_kills(farms: Farms, defect: str) -> None:
    """Whether a kill hits the moment is luck: it gets four times twelve."""
    rounds = (play(farms, 12, f"{defect}+answered_late")[1] for _ in range(4))

    assert any(found for wrong in rounds for name, found in wrong.items() if name.startswith(SEEN[defect]))
