"""Many at once: one key makes one request; of a cancel, a claim and an intake one wins, and all are told the same."""

import asyncio
import http.client
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Farms
from doses import dose
from farm import Caller, Farm, free_port
from planted.defects import plant
from test_kills import picture

from gesso.core.errors import LeaseLost
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import State
from gesso.store.database import Database
from gesso.store.queue import Queue

WANTED = (Picture("image_urls", 0, "https://images.example/1.png"),)
LEASE = timedelta(seconds=30)
CALLERS = 24


def submit_until_told(caller: Caller, prompt: str, key: str, image: str) -> str:
    """The id that the key stands for, whatever becomes of the API meanwhile."""
    while True:
        with suppress(OSError, http.client.HTTPException):
            answer = caller.submit(prompt, key=key, image=image)
            if answer.status == 200:
                return answer.request_id
            assert answer.status == 503, answer


def races(farm: Farm, rounds: int, planted: str = "") -> list[set[str]]:
    """For each round, what its key stood for: two APIs, many callers, and now and then a kill in the middle."""
    dice, ports = random.Random(dose("SEED")), [farm.port, free_port()]
    callers = [Caller(port, farm.token) for port in ports]
    apis = [farm.api(port=port, planted=planted) for port in ports]
    told: list[set[str]] = []
    with ThreadPoolExecutor(CALLERS) as threads:
        for number in range(rounds):
            image = picture() if number % 2 else ""
            asked = [threads.submit(submit_until_told, callers[each % 2], "remember:race", f"key-{number}", image)
                     for each in range(CALLERS)]  # fmt: skip
            if dice.random() < 0.1:
                apis[0].kill()
                apis[0] = farm.api(port=ports[0], planted=planted)
            told.append({each.result() for each in asked})
    return told


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_I05_however_many_send_one_key_to_however_many_apis_one_request_is_made(farm: Farm) -> None:
    rounds = dose("RACES") // 2
    told = races(farm, rounds)

    assert [len(each) for each in told] == [1] * rounds
    assert len(farm.rows()) == rounds


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_I05_planted_a_key_that_is_forgotten_is_seen(farms: Farms) -> None:
    assert max(len(each) for each in races(farms(), 3, "keys_are_forgotten")) > 1


class Arena:
    """One database, opened as by several processes, each with its own writer."""

    def __init__(self, folder: Path) -> None:
        self.databases = [Database.open(folder) for _ in range(3)]
        self.queues = [Queue(each) for each in self.databases]
        self.dice = random.Random(dose("SEED"))

    async def round(self) -> None:
        """One request, and everybody who wants something of it at the same time."""
        api, *workers = self.queues
        wanted = WANTED if self.dice.random() < 0.5 else ()
        request = Request.new(owner="alice", model_id="a/one", input={}, at=datetime.now(UTC), pictures=wanted)
        await api.add(request)
        parties = [self.cancel(request), self.cancel(request), *(self.work(each) for each in workers * 2),
                   *(self.take_in(each, request) for each in workers)]  # fmt: skip
        self.dice.shuffle(parties)
        told = await asyncio.gather(*parties)
        await self.judge(request, [each for each in told if each is not None])

    async def cancel(self, request: Request) -> State:
        await asyncio.sleep(self.dice.random() / 500)
        return await self.queues[0].cancel(request.id, "alice")

    async def work(self, queue: Queue) -> str | None:
        await asyncio.sleep(self.dice.random() / 500)
        claimed = await queue.claim(["a/one"], holder="x", lease=LEASE)
        if claimed is None:
            return None
        with suppress(LeaseLost):
            await queue.finish(claimed, Succeeded((), {"attempt": claimed.attempt}))
            return "ran"
        return "ran in vain"

    async def take_in(self, queue: Queue, request: Request) -> str | None:
        if not request.pictures:
            return None
        await asyncio.sleep(self.dice.random() / 500)
        if self.dice.random() < 0.3:
            return "refused" if await queue.refuse(request, Failed(422001, "InputRejected")) else None
        file = Kept(f"{self.dice.getrandbits(128):032x}", "input", "1.png", "image/png", 9, "ab" * 32)
        await queue.freeze(request, [request.pictures[0].frozen(file)], [file])
        return None

    async def judge(self, request: Request, told: list[Any]) -> None:
        row = await self.queues[0].get(request.id, "alice")
        was_cancelled = State.CANCELLED in told
        assert told.count("ran") <= 1
        assert told.count("refused") <= 1
        assert was_cancelled == (row.state is State.CANCELLED), (told, row)
        if was_cancelled:
            assert row.attempt == 0, "it reached an engine"
            assert told.count("ran") + told.count("ran in vain") + told.count("refused") == 0, told
            assert row.outcome is None

    def close(self) -> None:
        for each in self.databases:
            each.close()


async def rounds(folder: Path, count: int) -> None:
    arena = Arena(folder)
    try:
        for _ in range(count):
            await arena.round()
    finally:
        arena.close()


@pytest.mark.anyio
async def test_I11_of_a_cancel_a_claim_and_an_intake_one_wins_and_all_are_told_the_same(tmp_path: Path) -> None:
    await rounds(tmp_path, 40)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.anyio
async def test_I11_whoever_comes_when_one_wins_and_all_are_told_the_same(tmp_path: Path) -> None:
    await rounds(tmp_path, dose("CANCELS"))


@pytest.mark.anyio
async def test_I11_planted_a_cancel_that_looks_first_and_leaps_later_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("cancel_looks_first", monkeypatch.setattr)

    with pytest.raises((AssertionError, LeaseLost, sqlite3.IntegrityError)):
        await rounds(tmp_path, 200)
