"""Bytes that change on the disk: a damaged database stops the start with a clear word, and is never an empty one."""

import contextlib
import random
import re
import shutil
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from doses import dose
from planted.defects import plant
from script import at_once

from gesso.core.errors import ConfigError, GessoError, ResourceNotFound
from gesso.core.request import Request
from gesso.store.database import Database
from gesso.store.queue import Queue

REQUESTS, FEW = 60, 24
FRAME = 4120


@pytest.fixture
async def house(tmp_path: Path) -> tuple[Path, list[str]]:
    """A database with its log, as a kill leaves them; and the ids of what is in it."""
    folder = tmp_path / "house"
    database = Database.open(folder)
    queue = Queue(database)
    ids = []
    for number in range(REQUESTS):
        request = Request.new(owner="alice", model_id="a/one", input={"prompt": "x" * 200}, at=datetime.now(UTC))
        ids.append(request.id)
        await queue.add(request)
        if number == REQUESTS // 2:
            with_half = tmp_path / "checkpointed"
            database._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert not with_half.exists()
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed, ignore=shutil.ignore_patterns("*-shm", "waiters", "watchers"))
    database.close()
    return killed, ids


def damage(dice: random.Random, folder: Path) -> str:
    """Change one bit, or cut the end off; the database or its log, but for the log's last transactions: what is changed
    there cannot be told from what a power cut may tear.
    """
    name = dice.choice(["gesso.db", "gesso.db", "gesso.db-wal"])
    path = folder / name
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data) if name == "gesso.db" else len(data) - 20 * FRAME)
    if dice.random() < 0.15 and name == "gesso.db":
        path.write_bytes(data[:at])
        return f"{name} cut off at {at}"
    data[at] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    return f"{name} bit at {at}"


def look(folder: Path, ids: list[str]) -> str:
    """What a start makes of it: refused, told, whole, or lost in silence."""
    try:
        database = Database.open(folder)
    except ConfigError as refused:
        is_clear = str(folder) in str(refused) and re.search("backup|newer version", str(refused))
        return "refused" if is_clear else "refused without a clear word"
    try:
        queue = Queue(database)
        missing = [id for id in ids if is_missing(queue, id)]
    finally:
        database.close()
    return "lost in silence" if missing else "whole"


def is_missing(queue: Queue, id: str) -> bool:
    try:
        at_once(queue.get(id, "alice"))
    except ResourceNotFound:
        return True
    except (GessoError, ValueError, KeyError):
        return False  # it is told, as 503 or 500
    return False


def flips(house: tuple[Path, list[str]], tmp_path: Path, count: int) -> Counter[str]:
    sound, ids = house
    dice, verdicts = random.Random(dose("SEED")), Counter[str]()
    for number in range(count):
        folder = tmp_path / f"flip-{number}"
        shutil.copytree(sound, folder)
        how = damage(dice, folder)
        before = {path.name: path.read_bytes() for path in folder.glob("gesso.db*")}
        verdict = look(folder, ids)
        verdicts[verdict] += 1
        if verdict == "refused":
            assert {name: (folder / name).read_bytes() for name in before if (folder / name).exists()}, how
            assert (folder / "gesso.db").exists(), how
        if verdict not in ("refused", "whole"):
            verdicts[how] += 1
        shutil.rmtree(folder)
    return verdicts


@pytest.mark.anyio
async def test_I18_a_flipped_bit_of_the_database_stops_the_start_or_costs_no_request(
    house: tuple[Path, list[str]], tmp_path: Path
) -> None:
    verdicts = flips(house, tmp_path, FEW)

    assert set(verdicts) == {"refused", "whole"}, verdicts


@pytest.mark.anyio
async def test_I18_a_table_s_text_that_is_no_text_any_more_stops_the_start_with_a_clear_word(
    house: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """SQLite quotes the damaged word in its message, whose bytes Python cannot decode."""
    sound, ids = house
    (sound / "gesso.db-wal").unlink()
    data = (sound / "gesso.db").read_bytes()
    words = [found.start() for found in re.finditer(rb"(?<= )(TABLE|INDEX|ON|WHERE|WITHOUT)(?= )", data)]
    verdicts = Counter[str]()
    for number, at in enumerate(words):
        folder = tmp_path / f"word-{number}"
        shutil.copytree(sound, folder)
        (folder / "gesso.db").write_bytes(data[:at] + bytes([data[at] | 0x80]) + data[at + 1 :])
        verdicts[look(folder, ids[:1])] += 1
        shutil.rmtree(folder)

    assert verdicts == {"refused": len(words)}
    assert len(words) > 20


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ours", "damaged"), [(b" pictures ", b" pistures "), (b"count + 1", b"count * 1"), (b"ready = 0", b"ready = 8")]
)
async def test_I18_sound_sql_that_is_not_ours_any_more_stops_the_start_with_a_clear_word(
    house: tuple[Path, list[str]], ours: bytes, damaged: bytes
) -> None:
    folder, ids = house
    (folder / "gesso.db-wal").unlink()
    data = (folder / "gesso.db").read_bytes()
    assert ours in data
    (folder / "gesso.db").write_bytes(data.replace(ours, damaged, 1))

    assert look(folder, ids[:1]) == "refused"


@pytest.mark.anyio
async def test_an_index_that_an_operator_has_added_is_no_damage(house: tuple[Path, list[str]]) -> None:
    folder, ids = house
    with contextlib.closing(sqlite3.connect(folder / "gesso.db")) as connection:
        connection.execute("CREATE INDEX mine ON requests (owner)")

    assert look(folder, ids) == "whole"


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.anyio
async def test_I18_very_many_flipped_bits_cost_no_request_in_silence(
    house: tuple[Path, list[str]], tmp_path: Path
) -> None:
    verdicts = flips(house, tmp_path, 4 * dose("FLIPS"))

    assert set(verdicts) == {"refused", "whole"}, verdicts


@pytest.mark.anyio
@pytest.mark.parametrize("defect", ["damage_is_thrown_away", "log_is_not_looked_at"])
async def test_I18_planted_damage_that_is_passed_over_is_seen(
    house: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    plant(defect, monkeypatch.setattr)

    assert flips(house, tmp_path, FEW)["lost in silence"] > 0


@pytest.mark.anyio
async def test_I01_a_log_that_was_torn_by_a_power_cut_is_no_damage(
    house: tuple[Path, list[str]], tmp_path: Path
) -> None:
    sound, ids = house
    log = (sound / "gesso.db-wal").read_bytes()
    dice = random.Random(dose("SEED"))
    for number in range(10):
        folder = tmp_path / f"torn-{number}"
        shutil.copytree(sound, folder)
        torn = log[: dice.randrange(32, len(log))]
        (folder / "gesso.db-wal").write_bytes(torn + bytes(dice.randrange(0, 5000)))

        assert look(folder, ids[:1]) == "whole"
        shutil.rmtree(folder)
