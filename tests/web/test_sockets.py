"""What only shows on a real connection: callers who are slow, silent, endless or gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.web.intake import Watch
from app.web.middleware import Manners
from app.web.server import Protocol
from tests.serving import serving
from tests.waiting import until
from tests.web.tiny import World, tiny_app

HEAD = b"POST /api/v1/pets HTTP/1.1\r\nHost: tiny\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
CAT = b'{"kind":"cat","name":"Tom"}'


class Impatient(Protocol):
    patience = 0.2


@asynccontextmanager
async def tiny(folder: Path, world: World | None = None) -> AsyncIterator[int]:
    manners = Manners(watch=Watch(patience=0.2, every=0.05))
    async with serving(tiny_app(folder, world, manners=manners), http=Impatient) as port:
        yield port


class Caller:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def on(cls, port: int) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self, within: float = 5.0) -> tuple[int, bytes]:
        """The next answer."""
        async with asyncio.timeout(within):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head.split()[1]), await self._reader.readexactly(length)

    async def closed(self, within: float = 5.0) -> bool:
        async with asyncio.timeout(within):
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True


async def test_a_body_in_pieces_is_taken_while_it_keeps_coming(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(CAT))
        for index in range(len(CAT)):
            await caller.say(CAT[index : index + 1])
        status, _ = await caller.hear()

    assert status == 201


@pytest.mark.parametrize("sent", [b"", CAT[:5]])
async def test_a_body_that_stops_coming_is_cut(tmp_path: Path, sent: bytes) -> None:
    started = time.monotonic()
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(CAT) + sent)
        status, body = await caller.hear()

        assert (status, json.loads(body)["code"]) == (408, "too-slow")
        assert await caller.closed()
    assert time.monotonic() - started < 3


async def test_a_trickle_is_too_slow_however_steady(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(HEAD + b"Content-Length: 10000\r\n\r\n")
        answer = asyncio.get_running_loop().create_task(caller.hear())

        async def trickle() -> bool:
            with contextlib.suppress(ConnectionError):
                await caller.say(b" ")
            return answer.done()

        await until(trickle)

    # Who goes on sending after being refused may be cut before he has read why.
    reason = answer.exception()
    assert isinstance(reason, ConnectionError | asyncio.IncompleteReadError) if reason else answer.result()[0] == 408


async def test_a_slow_upload_leaves_nothing_behind(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(
            b"POST /api/v1/albums HTTP/1.1\r\nHost: tiny\r\nAuthorization: Bearer good\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 20000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf a picture'
        )
        status, _ = await caller.hear()
        await until(lambda: list(tmp_path.iterdir()) == [])

    assert status == 408


async def test_a_caller_who_leaves_in_the_middle_is_forgotten(tmp_path: Path) -> None:
    world = World()
    async with tiny(tmp_path, world) as port:
        async with Caller.on(port) as caller:
            await caller.say(HEAD + b"Content-Length: 100\r\n\r\n{")
            await until(lambda: len(world.asked) == 1)
        async with Caller.on(port) as caller:
            await caller.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(CAT) + CAT)
            status, _ = await caller.hear()

    assert status == 201


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: ti", HEAD])
async def test_headers_that_stop_coming_are_cut(tmp_path: Path, said: bytes) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(said)

        assert await caller.closed()


async def test_headers_that_stop_on_a_kept_connection_are_cut_too(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(b"GET /healthz HTTP/1.1\r\nHost: tiny\r\n\r\n")
        status, _ = await caller.hear()
        await caller.say(b"GET /healthz HTTP/1.1\r\nHost:")

        assert status == 200
        assert await caller.closed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 400_000,
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 9_000 + b"\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_huge_headers_are_refused(tmp_path: Path, head: bytes) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(head)
        status, _ = await caller.hear()

    assert status == 431


async def test_large_bodies_behind_small_headers_are_no_huge_headers(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(HEAD + b"Content-Length: 19999\r\n\r\n" + CAT + b" " * (19_999 - len(CAT)))
        await caller.say(b"GET /healthz HTTP/1.1\r\nHost: tiny\r\n\r\n" * 3)
        statuses = [(await caller.hear())[0] for _ in range(4)]

    assert statuses == [201, 200, 200, 200]


async def test_a_body_announced_too_long_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with tiny(tmp_path) as port, Caller.on(port) as caller:
        await caller.say(HEAD + b"Expect: 100-continue\r\nContent-Length: 20001\r\n\r\n")
        status, _ = await caller.hear()

    assert status == 413


async def test_a_crash_in_the_middle_of_an_answer_cuts_the_connection(tmp_path: Path) -> None:
    world = World()
    async with tiny(tmp_path, world) as port, Caller.on(port) as caller:
        await caller.say(b"GET /api/v1/pets/torn/content HTTP/1.1\r\nHost: tiny\r\nAuthorization: Bearer good\r\n\r\n")

        with pytest.raises(asyncio.IncompleteReadError):
            await caller.hear()
