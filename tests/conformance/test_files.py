"""What is kept, whose it is, and until when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from givens import A_LEASE, Ask, Clock, kept, rows

from gesso.core.errors import LeaseLost, ResourceNotFound
from gesso.core.pictures import Picture
from gesso.core.request import Failed, Succeeded
from gesso.store.connection import Database
from gesso.store.files import Files
from gesso.store.queue import Queue

pytestmark = pytest.mark.anyio
A_DAY, A_WEEK, A_MOMENT = timedelta(days=1), timedelta(days=7), timedelta(microseconds=1)


@pytest.fixture
def files(database: Database) -> Files:
    return Files(database)


async def test_I25_a_request_is_kept_for_its_time_and_then_gone_with_its_inputs_and_outputs(
    clock: Clock, queue: Queue, files: Files, ask: Ask, folder: Path
) -> None:
    request = ask()
    await queue.add(request, [kept("a", "input")])
    claimed = await queue.claim(["a/one"], holder="x", lease=A_LEASE)
    assert claimed is not None
    await queue.finish(claimed, Succeeded((kept("b"),)), [kept("b")])
    clock.pass_by(A_WEEK - A_MOMENT)
    early = await forgotten(files, A_WEEK)
    clock.pass_by(A_MOMENT)

    assert early is None
    assert sorted(await forgotten(files, A_WEEK) or []) == ["a" * 32, "b" * 32]
    assert rows(folder) == rows(folder, "files") == []
    with pytest.raises(ResourceNotFound):
        await queue.get(request.id, "alice")


async def test_I25_what_waits_or_runs_is_never_forgotten(
    clock: Clock, queue: Queue, files: Files, ask: Ask, folder: Path
) -> None:
    await queue.add(ask())
    await queue.add(ask(), [kept("a", "input")])
    await queue.claim(["a/one"], holder="x", lease=A_LEASE)
    clock.pass_by(10 * A_WEEK)

    assert await forgotten(files, A_WEEK) is None
    assert len(rows(folder)) == 2


@pytest.mark.parametrize("end", ["cancel", "refuse"])
async def test_I25_requests_that_never_ran_are_forgotten_too(
    clock: Clock, queue: Queue, files: Files, ask: Ask, folder: Path, end: str
) -> None:
    request = ask(pictures=(Picture("image_urls", 0, "https://images.example/1.png"),))
    await queue.add(request)
    if end == "cancel":
        await queue.cancel(request.id, "alice")
    else:
        await queue.refuse(request, Failed(422002, "FetchFailed"))
    clock.pass_by(A_WEEK)
    await forgotten(files, A_WEEK)

    assert rows(folder) == []


async def test_an_upload_and_an_output_are_their_owners_and_nobody_elses(queue: Queue, files: Files, ask: Ask) -> None:
    await queue.add(ask())
    claimed = await queue.claim(["a/one"], holder="x", lease=A_LEASE)
    assert claimed is not None
    await queue.finish(claimed, Succeeded((kept("a"),)), [kept("a")])
    await files.add_upload(kept("b", "upload", expires_at=datetime(2100, 1, 1, tzinfo=UTC)), owner="alice")

    for key in ("a" * 32, "b" * 32):
        assert (await files.public_of(key, "alice")).key == key
        with pytest.raises(ResourceNotFound):
            await files.public_of(key, "bob")


async def test_a_frozen_input_is_nobodys_to_name(queue: Queue, files: Files, ask: Ask) -> None:
    await queue.add(ask(), [kept("a", "input")])

    for key in ("a" * 32, "b" * 32):
        with pytest.raises(ResourceNotFound):
            await files.public_of(key, "alice")


async def test_uploads_expire(clock: Clock, files: Files) -> None:
    until = datetime.fromtimestamp(clock.now_us / 1e6, UTC) + A_DAY
    await files.add_upload(kept("a", "upload", expires_at=until), owner="alice")
    await files.add_upload(kept("b", "upload", expires_at=until + A_DAY), owner="alice")
    clock.pass_by(A_DAY - A_MOMENT)
    early = await files.forget_uploads()
    clock.pass_by(A_MOMENT)

    assert early == []
    assert await files.forget_uploads() == ["a" * 32]
    assert await files.public_of("b" * 32, "alice")


async def test_I13_what_has_no_row_is_an_orphan(queue: Queue, files: Files, ask: Ask) -> None:
    await queue.add(ask(), [kept("a", "input")])

    assert await files.condemn_unknown(["a" * 32, "b" * 32]) == ["b" * 32]


async def test_I13_a_blob_that_was_taken_for_an_orphan_gets_no_row_from_a_maker_who_wakes_up_late(
    queue: Queue, files: Files, ask: Ask
) -> None:
    await queue.add(ask())
    claimed = await queue.claim(["a/one"], holder="x", lease=A_LEASE)
    assert claimed is not None
    assert await files.condemn_unknown(["b" * 32]) == ["b" * 32]

    with pytest.raises(LeaseLost):
        await queue.finish(claimed, Succeeded((kept("b"),)), [kept("b")])
    assert (await queue.get(claimed.id, "alice")).outcome is None


async def test_I13_what_is_condemned_stays_so_until_it_is_gone_and_leaves_nothing_after_a_week(
    clock: Clock, files: Files, folder: Path
) -> None:
    told = [await files.condemn_unknown(["b" * 32]) for _ in range(2)]
    clock.pass_by(A_WEEK - A_MOMENT)
    early = await files.forget_uploads()
    clock.pass_by(A_MOMENT)
    await files.forget_uploads()

    assert (told, early) == ([["b" * 32]] * 2, [])
    assert rows(folder, "files") == []


async def forgotten(files: Files, retention: timedelta) -> list[str] | None:
    return await files.forget_requests(retention=retention)
