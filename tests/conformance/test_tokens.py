"""Tokens: told once, kept as hashes, and ended for good."""

import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from givens import Clock, url_of

from gesso.core.errors import BadToken
from gesso.store.connection import Database
from gesso.store.tokens import Tokens, hash_of, new_token

pytestmark = pytest.mark.anyio
ASK_FOR_SECRET = """
import asyncio, sys
from pathlib import Path
from gesso.store.opening import open_database
from gesso.store.tokens import Tokens
async def main():
    database = open_database(sys.argv[2], Path(sys.argv[1]))
    print((await Tokens(database).secret("file URLs")).hex())
    database.close()
asyncio.run(main())
"""


@pytest.fixture
def tokens(database: Database) -> Tokens:
    return Tokens(database)


async def owner_of(tokens: Tokens, token: str) -> str:
    return (await tokens.grant_of(hash_of(token.encode()))).owner


async def test_a_token_speaks_for_its_owner(tokens: Tokens) -> None:
    alice, bob = await tokens.create("alice"), await tokens.create("bob")

    assert (await owner_of(tokens, alice), await owner_of(tokens, bob)) == ("alice", "bob")


async def test_an_unknown_token_speaks_for_nobody(tokens: Tokens) -> None:
    await tokens.create("alice")

    with pytest.raises(BadToken):
        await owner_of(tokens, new_token())


@pytest.mark.only("sqlite")
async def test_no_file_holds_a_token(tokens: Tokens, folder: Path) -> None:
    token = await tokens.create("a-name-that-is-found")

    kept = [(folder / name).read_bytes() for name in ("gesso.db", "gesso.db-wal")]
    assert any(b"a-name-that-is-found" in each for each in kept)
    assert not any(token.encode() in each or token[6:40].encode() in each for each in kept)


async def test_a_revoked_token_speaks_for_nobody_and_is_revoked_once(tokens: Tokens) -> None:
    token = await tokens.create("alice")
    (known,) = await tokens.list()

    assert await tokens.revoke(known.id)
    assert not await tokens.revoke(known.id)
    assert not await tokens.exist()
    with pytest.raises(BadToken):
        await owner_of(tokens, token)


async def test_a_token_expires_on_the_moment(clock: Clock, tokens: Tokens) -> None:
    token = await tokens.create("alice", lifetime=timedelta(hours=1))
    clock.pass_by(timedelta(hours=1) - timedelta(microseconds=1))
    assert await owner_of(tokens, token) == "alice"
    clock.pass_by(timedelta(microseconds=1))

    with pytest.raises(BadToken):
        await owner_of(tokens, token)


async def test_only_a_token_that_was_made_so_is_an_administrators(tokens: Tokens) -> None:
    made = {is_admin: await tokens.create("alice", is_admin=is_admin) for is_admin in (False, True)}

    for is_admin, token in made.items():
        assert (await tokens.grant_of(hash_of(token.encode()))).is_admin is is_admin
    assert sorted(each.is_admin for each in await tokens.list()) == [False, True]


async def test_the_list_tells_all_about_a_token_but_not_the_token(clock: Clock, tokens: Tokens) -> None:
    token = await tokens.create("alice", lifetime=timedelta(hours=1))
    clock.pass_by(timedelta(seconds=1))
    await tokens.create("bob")

    first, second = await tokens.list()

    assert (first.owner, second.owner, second.expires_at) == ("alice", "bob", None)
    assert first.expires_at == first.created_at + timedelta(hours=1)
    assert token not in repr(await tokens.list())


async def test_every_token_is_another_of_256_bits_and_looks_the_same_to_scanners() -> None:
    made = {new_token() for _ in range(1000)}

    assert len(made) == 1000
    assert all(len(each) == 6 + 43 + 6 and each.startswith("gesso_") and each.isascii() for each in made)


async def test_every_process_gets_the_same_secret(tokens: Tokens, folder: Path) -> None:
    told = await anyio.run_process([sys.executable, "-c", ASK_FOR_SECRET, str(folder), url_of(folder)])

    assert told.stdout.decode().strip() == (await tokens.secret("file URLs")).hex()
    assert await tokens.secret("another") != await tokens.secret("file URLs")


async def test_of_two_who_make_a_secret_at_once_both_get_the_same(database: Database, another: Database) -> None:
    ours, theirs = Tokens(database), Tokens(another)

    for name in map(str, range(20)):
        assert await ours.secret(name) == await theirs.secret(name)
