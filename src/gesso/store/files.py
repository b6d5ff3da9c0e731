"""Which blobs are kept, whose they are, and until when."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from gesso.core.errors import LeaseLost, ResourceNotFound
from gesso.core.pictures import Kept
from gesso.store.connection import Connection, Database, Row
from gesso.store.rows import MICROSECOND, id_bytes, to_us

INSERT = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
GET = "SELECT * FROM files WHERE key = ? AND sha256 <> ''"  # what is condemned has none
# Rows of a request go with it: outputs and inputs together.
OLD_REQUESTS = """SELECT id FROM requests WHERE finished_at IS NOT NULL AND finished_at <= now_us() - ?
    ORDER BY finished_at LIMIT 200"""
FORGET_FILES_OF = "DELETE FROM files WHERE request = ? RETURNING key"
FORGET_REQUEST = "DELETE FROM requests WHERE id = ?"
FORGET_UPLOADS = "DELETE FROM files WHERE expires_at <= now_us() RETURNING key"
# Takes the place of the row that the blob's maker never wrote, so that a maker who wakes up late cannot write it.
CONDEMN = """INSERT INTO files VALUES (?, 'upload', '', NULL, '', '', 0, '', now_us() + ?)
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE files.sha256 = '' RETURNING key"""
CONDEMNED_FOR = timedelta(days=7)


class Files:
    """The file rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_upload(self, upload: Kept, *, owner: str) -> None:
        """Keep the row of *upload*; durable on return."""
        await self._database.write(lambda rows: insert_files(rows, [upload], owner=owner, request_id=None))

    async def get(self, key: str) -> Kept:
        """The file with *key*, whoever asks: the caller checks a signature.

        Raises:
            ResourceNotFound: when there is none.
        """
        return _kept(await self._row(key))

    async def public_of(self, key: str, owner: str) -> Kept:
        """The upload or output with *key* of *owner*.

        Raises:
            ResourceNotFound: when there is none, or it is another owner's.
        """
        row = await self._row(key)
        if row["kind"] == "input" or row["owner"] != owner:
            raise ResourceNotFound
        return _kept(row)

    async def condemn_unknown(self, keys: Sequence[str]) -> list[str]:
        """Those of *keys* that have no row: orphans. None of them can be given one for a week, so they may be removed.

        Whoever dies before that is told of them again the next time.
        """
        lasts = CONDEMNED_FOR // MICROSECOND
        # Nearly always there is none, and a read holds nobody up.
        known = await self._database.read(lambda rows: {key for key in keys if rows.execute(GET, (key,)).fetchone()})
        unknown = [key for key in keys if key not in known]
        if not unknown:
            return []
        return await self._database.write(
            lambda rows: [key for key in unknown if rows.execute(CONDEMN, (key, lasts)).fetchone()]
        )

    async def forget_requests(self, *, retention: timedelta) -> list[str] | None:
        """Remove up to 200 requests that ended *retention* ago; the keys of the blobs to be removed after them.

        Returns:
            None when there was no such request; an empty list when those there were had no blobs.
        """

        def move(rows: Connection) -> list[str] | None:
            keys: list[str] = []
            old = rows.execute(OLD_REQUESTS, (retention // MICROSECOND,)).fetchall()
            for (request,) in old:
                keys += [key for (key,) in rows.execute(FORGET_FILES_OF, (request,))]
                rows.execute(FORGET_REQUEST, (request,))
            return keys if old else None

        return await self._database.write(move)

    async def forget_uploads(self) -> list[str]:
        """Remove the rows of uploads whose time is over; the keys of the blobs to be removed after them."""
        return await self._database.write(lambda rows: [key for (key,) in rows.execute(FORGET_UPLOADS)])

    async def _row(self, key: str) -> Row:
        row: Row | None = await self._database.read(lambda rows: rows.execute(GET, (key,)).fetchone())
        if row is None:
            raise ResourceNotFound
        return row


def insert_files(rows: Connection, kept: Iterable[Kept], *, owner: str, request_id: str | None) -> None:
    """Part of a move: give each of *kept* its row.

    Raises:
        LeaseLost: when one was taken for an orphan and removed, because its maker slept for hours.
    """
    request = id_bytes(request_id) if request_id else None
    for file in kept:
        expires_at = to_us(file.expires_at) if file.expires_at else None
        values = (file.key, file.kind, owner, request, file.name, file.content_type, file.size_bytes, file.sha256)
        if rows.execute(INSERT, (*values, expires_at)).fetchone() is None:
            raise LeaseLost


def _kept(row: Row) -> Kept:
    return Kept(row["key"], row["kind"], row["name"], row["content_type"], row["size_bytes"], row["sha256"])
