"""T16: more than the service can do, and people who only hold its sockets. Whoever says nothing, or says it a byte a
second, is sent away and costs the others nothing. At five times what it can take every order is answered: taken, or
turned away with a word on when to come again; soon after, all is as before, and what was acknowledged is there.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.bench import letters
from tests.bench.load import Caller, hung_up, load
from tests.inside import violations
from tests.proof.customers import request
from tests.proof.letterbox import letterbox
from tests.proof.scoreboard import Effort, Score
from tests.running import Service
from tests.waiting import until_blocking

ORDERS = "/api/v1/jobs"
_TIMES = 5
_AT_ONCE = 512
_WITHIN = 30.0
"""Seconds in which whoever only holds a socket has to be gone."""
_AGAIN_WITHIN = 10.0
_SLOWER = 2.0
_LOOKS = 40
_PESTS = {
    "say nothing": b"",
    "do not finish their headers": b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "send a byte a second": b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %b\r\nContent-Length: 900\r\n\r\n{",
}
_ID = re.compile(rb'"id":"(job_[0-9a-z]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_AFTER = re.compile(rb"\r\nretry-after: *\d+", re.IGNORECASE)


def prove_overload(effort: Effort, folder: Path) -> Iterator[Score]:
    with letterbox(folder / "service") as box:
        yield _pestered(box.service, effort.of(210, 1_000))
        yield _overloaded(box.service, effort.of(3, 60))


def _quick(service: Service, looks: int = _LOOKS) -> float:
    """The quicker quarter of the times an order takes: what the machine does besides makes the others slow."""
    return _quarter([_taken(service) for _ in range(looks)])


def _quarter(times: list[float]) -> float:
    return sorted(times)[len(times) // 4]


def _taken(service: Service) -> float:
    """Seconds until an order was taken, on a connection of its own."""
    with service.client() as client:
        began = time.perf_counter()
        answer = client.post(ORDERS, json=request("a quiet street"))
        assert answer.status_code == 202, answer.text
        return time.perf_counter() - began


# ----------------------------------------------------------------------------------------------------------------------
# Those who hold sockets


@dataclass(frozen=True)
class Pest:
    manner: str
    socket: socket.socket


def _pestered(service: Service, many: int) -> Score:
    """Orders before, beside as many of each manner, and after."""
    alone = [_taken(service) for _ in range(_LOOKS)]
    with ExitStack() as stack:
        poll, left = select.epoll(), dict[int, Pest]()
        for manner, first in islice(cycle(_PESTS.items()), many):
            pest = Pest(manner, stack.enter_context(socket.create_connection(("127.0.0.1", service.port))))
            pest.socket.sendall(first.replace(b"%b", service.key.encode()))
            poll.register(pest.socket, select.EPOLLIN)
            left[pest.socket.fileno()] = pest
        slow = [pest.socket for pest in left.values() if _PESTS[pest.manner]]
        stop, began, beside = threading.Event(), time.monotonic(), []
        trickle = threading.Thread(target=_trickle, args=(slow, stop))
        trickle.start()
        stack.callback(trickle.join)
        stack.callback(stop.set)
        while left and time.monotonic() < began + _WITHIN:
            beside.append(_taken(service))
            for number, _event in poll.poll(0):
                if _gone(left[number].socket):
                    poll.unregister(left.pop(number).socket)
        took = time.monotonic() - began
    alone += [_taken(service) for _ in range(_LOOKS)]
    ratio = _quarter(beside) / _quarter(alone)
    there = Counter(pest.manner for pest in left.values())
    wrong = [f"{n} who {manner} are still there after {_WITHIN:.0f} s" for manner, n in there.items()]
    if ratio > _SLOWER:
        wrong.append(f"beside those who hold sockets an order takes {ratio:.1f} times as long")
    counts = {"sockets": many, "last gone after s": round(took, 1), "orders": len(beside), "ratio": round(ratio, 2)}
    return Score("T16", "half-open and very slow", counts, wrong)


def _trickle(slow: list[socket.socket], stop: threading.Event) -> None:
    """A byte a second from each who says anything."""
    while not stop.wait(1.0):
        for each in slow:
            with suppress(OSError):
                each.send(b" ")


def _gone(pest: socket.socket) -> bool:
    """Told to go, or cut off."""
    try:
        said = pest.recv(65536)
    except OSError:
        return True
    return not said or said.startswith(b"HTTP/1.1 408")


# ----------------------------------------------------------------------------------------------------------------------
# More than can be done


@dataclass
class Storm:
    """What was answered, which jobs were acknowledged, and answers that leave one alone."""

    answers: Counter[int] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    rude: list[str] = field(default_factory=list)

    def heed(self, said: bytes) -> None:
        status = int(said[9:12])
        self.answers[status] += 1
        if status == 202 and (job := _ID.search(said)):
            self.acknowledged.add(job[1].decode())
        elif status not in (429, 503) or not _AFTER.search(said):
            self.rude.append(said[:300].decode(errors="replace"))


def _overloaded(service: Service, seconds: int) -> Score:
    order, usual = letters.job(ORDERS, service.key), _quick(service)
    capacity = load(service.port, [order], 64, 1.0, again=True).statuses[202]
    storm = _storm(service.port, order, _TIMES * capacity, seconds)
    over = time.monotonic()
    wrong = storm.rude[:5]
    try:
        until_blocking(lambda: _well(service, usual), within=_AGAIN_WITHIN)
    except AssertionError:
        wrong.append(f"it is not as before {_AGAIN_WITHIN:.0f} s after")
    again = time.monotonic() - over
    assert service.settings
    engine = create_engine(service.settings.database, poolclass=NullPool)
    with engine.connect() as connection:
        there = set(connection.execute(text("SELECT id FROM jobs")).scalars())
    if lost := storm.acknowledged - there:
        wrong.append(f"{len(lost)} jobs were acknowledged and are not there")
    if storm.answers[202] != len(storm.acknowledged):
        wrong.append(f"{storm.answers[202]} orders were taken as {len(storm.acknowledged)} jobs")
    wrong += violations(service.settings)
    counts = {"capacity a second": capacity, "due": _TIMES * capacity * seconds, "well again after s": round(again, 1)}
    counts |= {f"answered {status}": n for status, n in sorted(storm.answers.items())}
    return Score("T16", f"{_TIMES} times as many orders as it can take", counts, wrong)


def _storm(port: int, order: bytes, rate: float, seconds: float) -> Storm:
    """Orders fall due at that rate, and are sent as long as there is a connection left that is not waiting."""
    storm, poll = Storm(), select.epoll()
    with ExitStack() as stack:
        callers = {}
        for _ in range(_AT_ONCE):
            caller = Caller(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            poll.register(caller.socket, select.EPOLLIN)
            callers[caller.socket.fileno()] = caller
        free, began, sent = deque(callers.values()), time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds or len(free) < _AT_ONCE:
            assert now < began + seconds + _WITHIN, f"{_AT_ONCE - len(free)} orders are not answered"
            while free and now < began + seconds and sent < (now - began) * rate:
                free.popleft().socket.sendall(order)
                sent += 1
            for number, _event in poll.poll(0.005):
                caller = callers[number]
                caller.heard += caller.socket.recv(65536) or hung_up()
                if said := _whole(caller):
                    storm.heed(said)
                    free.append(caller)
    return storm


def _whole(caller: Caller) -> bytes:
    """An answer, once all of it is there."""
    head, end, body = caller.heard.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if not end or (length and len(body) < int(length[1])):
        return b""
    said, caller.heard = caller.heard, b""
    return said


def _well(service: Service, usual: float) -> bool:
    """Ready, and as quick as before."""
    ready = httpx.get(f"{service.base_url}/readyz", trust_env=False, timeout=5).status_code == 200
    return ready and _quick(service, 8) < _SLOWER * usual
