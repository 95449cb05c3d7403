"""A wire between a program and what it depends on, on which things go wrong when asked: cut while something is said or
before the answer is heard, half closed, slow, answered by somebody else, or gone altogether and back again.

    with fault_proxy(5432) as wire:
        commits = wire.plan(Fault(b"COMMIT", "lose the answer", times=3))
        ...
        assert commits.fired == 3

It runs on a loop of its own in a thread, so that tests without one can use it; its address stays the same.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

_CHUNK = 65536
_CONTINUE = b"HTTP/1.1 100"

T = TypeVar("T")
Deed = Literal["cut", "lose the answer", "half-close", "delay", "answer"]


@dataclass
class Fault:
    """What is done, so many times, when a client says something with `pattern` in it. `cut`: the server never hears it.
    `lose the answer`: the server does, and the client never hears what it says. `half-close`: the server is told that
    the client has no more to say. `delay`: what is said arrives so many `seconds` later. `answer`: the server is not
    asked, `reply` is the answer. `fired` counts."""

    pattern: bytes
    deed: Deed
    times: int = 1
    seconds: float = 0.0
    reply: bytes = b""
    fired: int = 0


@dataclass(eq=False)
class _Line:
    """One connection. `deaf`: the client is to hear nothing more, and is cut off as soon as there is an answer."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    heard: bytes = b""
    deaf: bool = False

    def cut(self) -> None:
        for end in (self.near, self.far):
            end.transport.abort()


@dataclass
class FaultProxy:
    target: tuple[str, int]
    port: int = 0
    connections: int = 0
    _faults: list[Fault] = field(default_factory=list)
    _lines: set[_Line] = field(default_factory=set)
    _listening: asyncio.Server | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def plan(self, fault: Fault) -> Fault:
        """From now on, until it has happened often enough."""
        self._on_loop(self._planned(fault))
        return fault

    def forget(self) -> None:
        """No more faults."""
        self._on_loop(self._forgotten())

    def go_away(self) -> None:
        """Nobody is there: every connection breaks, and none can be made."""
        self._on_loop(self._close())

    def come_back(self) -> None:
        self._on_loop(self._listen())

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # On the loop from here on

    async def _planned(self, fault: Fault) -> None:
        self._faults.append(fault)

    async def _forgotten(self) -> None:
        self._faults.clear()

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listening = await asyncio.start_server(self._serve, sock=listener)

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for line in list(self._lines):
            line.cut()

    async def _end(self) -> None:
        await self._close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            answers, far = await asyncio.open_connection(*self.target)
        except OSError:
            near.transport.abort()
            return
        line = _Line(near, far)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_hand_back(line, answers))
                await self._hand_on(line, reader)
                with suppress(OSError):  # the client has said all it has to say; the server may still answer
                    far.write_eof()
        except* ConnectionError:
            pass
        finally:
            self._lines.discard(line)
            line.cut()

    async def _hand_on(self, line: _Line, reader: asyncio.StreamReader) -> None:
        while said := await reader.read(_CHUNK):
            fault = self._due(line, said)
            if fault is not None:
                match fault.deed:
                    case "cut":
                        raise ConnectionAbortedError
                    case "answer":
                        await _answered(line, reader, fault.reply)
                        raise ConnectionAbortedError
                    case "half-close":
                        line.far.write(said)
                        return
                    case "lose the answer":
                        line.deaf = True
                    case "delay":
                        await _later(fault.seconds)
            line.far.write(said)
            await line.far.drain()

    def _due(self, line: _Line, said: bytes) -> Fault | None:
        """The first fault whose words have been said, though they came in pieces."""
        heard = line.heard + said
        line.heard = said[-64:]
        for fault in self._faults:
            if fault.fired < fault.times and fault.pattern in heard:
                fault.fired += 1
                line.heard = b""
                return fault
        return None


async def _later(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


async def _answered(line: _Line, reader: asyncio.StreamReader, reply: bytes) -> None:
    """And what else the client says is heard out, so that it can read that in peace."""
    line.near.write(reply)
    line.near.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await reader.read(_CHUNK):
                pass


async def _hand_back(line: _Line, answers: asyncio.StreamReader) -> None:
    while said := await answers.read(_CHUNK):
        if line.deaf and not said.startswith(_CONTINUE):
            raise ConnectionAbortedError
        line.near.write(said)
        await line.near.drain()
    line.near.close()


@contextmanager
def fault_proxy(port: int, host: str = "127.0.0.1") -> Iterator[FaultProxy]:
    """A wire to what listens there."""
    wire = FaultProxy((host, port))
    thread = threading.Thread(target=wire._loop.run_forever, name="fault-proxy", daemon=True)
    thread.start()
    try:
        wire.come_back()
        yield wire
    finally:
        wire._on_loop(wire._end())
        wire._loop.call_soon_threadsafe(wire._loop.stop)
        thread.join(10)
        wire._loop.close()
