"""Deployments whose rows are on a PostgreSQL server of their own, and a network to it that breaks on command."""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from farm import Caller, Farm
from pg import Server
from psycopg.rows import dict_row

from gesso.store.opening import open_database
from gesso.store.tokens import Tokens

MODES = ("pass", "silent", "refuse", "deaf", "swallow")


class PgFarm(Farm):
    """Any number of processes on one database of *server*; pictures lie in a folder that all of them share.

    Args:
        url: how its processes reach the database, where that is not directly.
    """

    def __init__(self, folder: Path, server: Server, url: str = "", **settings: str) -> None:
        self.server = server
        self.direct = server.make_database(empty=True)
        self.name = self.direct.rpartition("/")[2]
        super().__init__(folder, database=url.replace("NAME", self.name) or self.direct, **settings)

    def token_of(self, owner: str) -> str:
        async def create() -> str:
            database = open_database(self.direct, self.data)
            try:
                return await Tokens(database).create(owner)
            finally:
                database.close()

        return asyncio.run(create())

    def rows(self, query: str = "SELECT hex(id) AS key, * FROM requests") -> list[Any]:
        """What the server says to somebody else; `hex` is SQLite's."""
        with psycopg.connect(self.direct, row_factory=dict_row) as foreign:
            return foreign.execute(re.sub(r"hex\((\w+)\)", r"encode(\1, 'hex')", query).encode()).fetchall()

    def on(self, port: int) -> Caller:
        """A client of another API of the farm."""
        return Caller(port, self.token)


class Network:
    """A way to the server on a port of its own; its modes hold for connections that are open, too.

    pass: all flows. silent: nothing flows, and nobody is told. refuse: connections are reset. deaf: those that listen
    for notices hear nothing. swallow: the next COMMIT arrives, its answer does not, and the connection is reset.
    """

    def __init__(self, server: Server) -> None:
        self.mode = "pass"
        self.swallowed = threading.Event()
        self._upstream = server.port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._gate = self._do(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = self._gate.sockets[0].getsockname()[1]
        self.url = server.url("NAME", port=self.port)

    def become(self, mode: str) -> None:
        """From now on."""
        assert mode in MODES
        self.mode = mode
        if mode == "refuse":
            self._do(self._reset_all())

    def close(self) -> None:
        """Cut everything."""
        self.become("refuse")
        self._gate.close()
        self._do(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _do(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _ended(self) -> None:
        """Wait until nobody pumps any more."""
        while self._writers:  # noqa: ASYNC110 - each of many ends by itself
            await asyncio.sleep(0.01)

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            return _reset(writer)
        there = await asyncio.open_connection("127.0.0.1", self._upstream)
        pair = {writer, there[1]}
        self._writers |= pair
        listens = asyncio.Event()
        try:
            await asyncio.gather(
                self._pump(reader, there[1], pair, listens, to_server=True),
                self._pump(there[0], writer, pair, listens, to_server=False),
            )
        finally:
            self._writers -= pair

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: set[asyncio.StreamWriter],
        listens: asyncio.Event, *, to_server: bool,
    ) -> None:  # fmt: skip
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if to_server and b"LISTEN" in data:
                    listens.set()
                while self.mode == "silent" or (self.mode == "deaf" and listens.is_set()):  # noqa: ASYNC110 - as networks do
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
                if to_server and self.mode == "swallow" and b"COMMIT" in data:
                    self.mode = "pass"
                    await reader.read(0)
                    await self._swallow(pair, writer)
        with contextlib.suppress(OSError):
            writer.close()

    async def _swallow(self, pair: set[asyncio.StreamWriter], to_server: asyncio.StreamWriter) -> None:
        for writer in pair - {to_server}:
            _reset(writer)
        self.swallowed.set()
        await asyncio.sleep(0.2)  # the server commits


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN."""
    if ours := writer.get_extra_info("socket"):
        with contextlib.suppress(OSError):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def networked(server: Server) -> Iterator[Network]:
    """A network to *server*."""
    network = Network(server)
    try:
        yield network
    finally:
        network.close()
