"""A crowd at one service, on plain sockets and one poll: people who follow its events and come back as browsers do,
people who follow and never read, and people who order jobs at a steady pace so that there is something to tell.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Self

from tests.bench import letters
from tests.bench.load import Caller, status_of

WINDOW = 4096
_EVENTS = "/api/v1/events"
_ORDERERS = 32
_FRAME = re.compile(rb'\ndata: \{"seq":(\d+),"type":"[^"]*","time":"([^"]*)"')
_RETRY = re.compile(rb"\nretry: (\d+)")
_PUT_OFF = 3.0
"""Seconds until one comes back who was told nothing, as browsers do."""


@dataclass
class Line:
    """One connection, or none while its owner waits to come back."""

    socket: socket.socket | None = None
    heard: bytes = b""
    asked_at: float = 0.0
    due: float = 0.0


@dataclass
class Reader(Line):
    """`last` is the newest event heard. `listening` once the answer began."""

    last: int = 0
    listening: bool = False
    retry: float = _PUT_OFF
    missed: int = 0
    again: int = 0


@dataclass
class Deaf(Line):
    """Asks, and reads nothing."""

    cut_after: float | None = None


@dataclass
class Crowd:
    """`lags` holds seconds from when an event was written down until the first reader heard of it. `refused` counts
    what readers were answered other than 200, and 0 where nobody listened; `answered` what came of orders."""

    port: int
    key: str
    dice: Random
    readers: list[Reader] = field(default_factory=list)
    deaf: list[Deaf] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._poll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._ordering: dict[int, Caller] = {}
        self._free: deque[Caller | None] = deque([None] * _ORDERERS)
        self._order = letters.job("/api/v1/jobs", self.key)
        self._next_order = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        for line in [*self._lines.values()]:
            self._hang_up(line)
        for caller in self._ordering.values():
            caller.socket.close()
        self._poll.close()

    def follow(self, readers: int) -> None:
        """So many more, from now on."""
        self.readers += [Reader() for _ in range(readers)]

    def follow_deaf(self, readers: int) -> None:
        for _ in range(readers):
            line = Deaf()
            self.deaf.append(line)
            self._dial(line, window=WINDOW)
            self._ask(line)

    def until(self, done: Callable[[], object], *, orders: float = 0.0, within: float) -> bool:
        """Go on, with so many orders a second, until that is so. False when it has not come to that in time."""
        began = time.monotonic()
        self._next_order = began
        while not done():
            if (now := time.monotonic()) > began + within:
                return False
            while orders and self._next_order <= now and self._free:
                self._order_one()
                self._next_order += 1 / orders
            for reader in self.readers:
                if reader.socket is None and reader.due <= now:
                    self._come(reader)
            for number, _events in self._poll.poll(0.005):
                if number in self._ordering:
                    self._answered(number)
                elif isinstance(line := self._lines[number], Reader):
                    self._heard(line)
                elif isinstance(line, Deaf):
                    line.cut_after = time.monotonic() - line.asked_at
                    self._hang_up(line)
        return True

    def orders_answered(self) -> bool:
        return len(self._free) == _ORDERERS

    # One line

    def _come(self, reader: Reader) -> None:
        reader.heard, reader.listening = b"", False
        try:
            self._dial(reader)
            self._ask(reader, {"Last-Event-ID": str(reader.last)} if reader.last else {})
        except OSError:
            self._lost(reader)

    def _order_one(self) -> None:
        caller = self._free.popleft()
        if caller is None:
            caller = Caller(socket.create_connection(("127.0.0.1", self.port)))
            self._ordering[caller.socket.fileno()] = caller
            self._poll.register(caller.socket, select.EPOLLIN)
        caller.socket.sendall(self._order)

    def _answered(self, number: int) -> None:
        caller = self._ordering[number]
        data = _received(caller.socket)
        caller.heard += data
        if not data:
            if caller in self._free:
                self._free.remove(caller)
            else:
                self.answered[0] += 1
            del self._ordering[number]
            caller.socket.close()
            self._free.append(None)
        elif (status := status_of(caller)) is not None:
            self.answered[status] += 1
            self._free.append(caller)

    def _dial(self, line: Line, window: int = 0) -> None:
        line.socket = socket.socket()
        if window:
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines[line.socket.fileno()] = line
        line.socket.connect(("127.0.0.1", self.port))
        line.asked_at = time.monotonic()
        self._poll.register(line.socket, 0 if window else select.EPOLLIN)

    def _ask(self, line: Line, more: dict[str, str] | None = None) -> None:
        assert line.socket
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {self.key}", **(more or {})}
        line.socket.sendall(letters.request("GET", _EVENTS, b"", headers))

    def _heard(self, reader: Reader) -> None:
        assert reader.socket
        data = _received(reader.socket)
        reader.heard += data
        self._read(reader)
        if not data and reader.socket is not None:
            self._lost(reader)

    def _read(self, reader: Reader) -> None:
        """What came as whole frames."""
        if not reader.listening and b"\r\n\r\n" in reader.heard:
            status = int(reader.heard[9:12])
            if status != 200:
                self.refused[status] += 1
                self._lost(reader)
                return
            reader.listening = True
        whole = reader.heard.rfind(b"\n\n") + 1
        data, reader.heard = reader.heard[:whole], reader.heard[whole:]
        if told := _RETRY.search(data):
            reader.retry = int(told[1]) / 1e3
        for seq, moment in _FRAME.findall(data):
            number = int(seq)
            reader.missed += max(0, number - reader.last - 1) if reader.last else 0
            reader.again += number <= reader.last
            reader.last = number
            if reader is self.readers[0]:
                self.lags.append(time.time() - datetime.fromisoformat(moment.decode()).timestamp())

    def _lost(self, reader: Reader) -> None:
        self.refused[0] += not reader.listening and not reader.heard
        self._hang_up(reader)
        reader.due, reader.listening = time.monotonic() + reader.retry, False

    def _hang_up(self, line: Line) -> None:
        if line.socket is not None:
            del self._lines[line.socket.fileno()]
            line.socket.close()
            line.socket = None
        line.heard = b""


def _received(line: socket.socket) -> bytes:
    """Nothing when it was cut off."""
    with suppress(OSError):
        return line.recv(1 << 18)
    return b""
