"""A PostgreSQL that may be stopped, and a wire to it that may be cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import pytest
from sqlalchemy.engine import URL


@dataclass
class Cluster:
    """A server of our own."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> URL:
        return URL.create("postgresql+psycopg", "tester", host="127.0.0.1", port=self.port, database="postgres")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100"
        self.run("pg_ctl", "-w", "-t", "30", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-t", "30", "-m", "immediate", "stop")

    def kill(self, backend: int) -> None:
        """Without a word; the others are then ended too, and the server recovers."""
        os.kill(backend, signal.SIGKILL)

    def run(self, program: str, *arguments: str) -> None:
        """As an unprivileged user: it refuses to run as root."""
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", **user)  # type: ignore[call-overload]


@contextmanager
def cluster() -> Iterator[Cluster]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("the programs of PostgreSQL are not installed here, so it cannot be stopped and started")
    folder = Path(mkdtemp(prefix="darkroom-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    ours = Cluster(programs[-1].parent, folder, _free_port())
    try:
        ours.run("initdb", "--auth=trust", "--username=tester", "--no-sync", "--encoding=UTF8", "--locale=C")
        ours.start()
        yield ours
    finally:
        with suppress(subprocess.CalledProcessError):
            ours.stop()
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Wire:
    """A TCP proxy. `cut` looks at what a client says and may end the connection: before the server has heard it, or
    when the server has answered, before the client hears that."""

    port: int
    cut: Callable[[bytes], str | None] = lambda _said: None
    cuts: int = 0
    open: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def wire_to(server: URL) -> AsyncIterator[Wire]:
    target = server.query.get("host", server.host or "127.0.0.1")
    wire = Wire(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if str(target).startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(f"{target}/.s.PGSQL.{server.port or 5432}")
        else:
            far_reader, far_writer = await asyncio.open_connection(str(target), server.port or 5432)
        back = asyncio.ensure_future(_copy(far_reader, writer))
        wire.open.add(back)
        try:
            while said := await reader.read(65536):
                fate = wire.cut(said)
                if fate == "before":
                    wire.cuts += 1
                    break
                if fate == "after":
                    wire.cuts += 1
                    back.cancel()
                    await asyncio.wait([back])
                    far_writer.write(said)
                    await far_reader.read(65536)
                    break
                far_writer.write(said)
        finally:
            back.cancel()
            wire.open.discard(back)
            for end in (writer, far_writer):
                end.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.port = listening.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        listening.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while said := await reader.read(65536):
            writer.write(said)
            await writer.drain()
    writer.close()
