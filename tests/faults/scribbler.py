"""Writes rows and blobs with the house's own code, one after another, and says of each when it is kept.

It speaks with `writev`, which is not what rows and blobs are written with: a fault of theirs does not silence it.
"""

import asyncio
import os
import sys
from pathlib import Path

from gesso.core.errors import GessoError, StorageBroken
from gesso.files.blobs import FolderBlobs, new_key
from gesso.store.database import Database

PUT = "INSERT INTO secrets VALUES (?, ?)"


def say(*words: object) -> None:
    os.writev(1, [" ".join(map(str, words)).encode() + b"\n"])


async def main(folder: Path, count: int) -> None:
    broken: list[Exception] = []
    blobs = FolderBlobs(folder / "blobs", broken.append)
    database = Database.open(folder, broken.append)
    say("begun")
    for number in range(count):
        key = new_key()
        try:
            sha256 = await blobs.put(key, os.urandom(3000))
            await database.write(lambda rows, *, row=(f"{number} {key} {sha256}", b""): rows.execute(PUT, row))
        except StorageBroken:
            say("broken", number)
        except GessoError:
            say("refused", number)
        else:
            say("kept", number, key, sha256)
    database.close()
    say("fatal", len(broken))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
