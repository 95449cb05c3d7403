"""The load: some connections, each asking again as soon as it was answered. `python -m tests.bench.load PORT FILE ...`

Plain sockets and epoll, so that the client's core is never what is measured. Requests are taken from the file in order,
from its beginning again with `--again`. Nothing is left in flight at the end: what was sent is what was answered.
"""

import argparse
import json
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.machine import LAST, pin

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SIZE = 4


@dataclass
class Said:
    """What was answered: how often each status, in how many seconds, and how long each answer took."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


@dataclass
class Caller:
    socket: socket.socket
    asked_at: float = 0.0
    heard: bytes = b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    pin(LAST)
    requests = unpacked(given.file.read_bytes())
    said = load(given.port, requests, given.connections, given.seconds, again=given.again)
    print(json.dumps({"seconds": said.seconds, "statuses": said.statuses, "latencies": said.latencies}))


def packed(requests: Sequence[bytes]) -> bytes:
    return b"".join(len(request).to_bytes(_SIZE, "little") + request for request in requests)


def unpacked(raw: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + _SIZE], "little")
        found.append(raw[at + _SIZE : at + _SIZE + length])
        at += _SIZE + length
    return found


def load(port: int, requests: Sequence[bytes], connections: int, seconds: float, *, again: bool) -> Said:
    said, poll = Said(), select.epoll()
    callers: dict[int, Caller] = {}
    for _ in range(connections):
        caller = Caller(socket.create_connection(("127.0.0.1", port)))
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(caller.socket, select.EPOLLIN)
        callers[caller.socket.fileno()] = caller
    began = time.perf_counter()
    coming = _coming(requests, began + seconds, again=again)
    busy = sum(_ask(caller, coming) for caller in callers.values())
    while busy:
        for number, _event in poll.poll(30.0) or _nobody_answers():
            caller = callers[number]
            caller.heard += caller.socket.recv(65536) or hung_up()
            if (status := status_of(caller)) is not None:
                said.statuses[status] += 1
                said.latencies.append(time.perf_counter() - caller.asked_at)
                busy -= not _ask(caller, coming)
    said.seconds = time.perf_counter() - began
    for caller in callers.values():
        caller.socket.close()
    return said


def _coming(requests: Sequence[bytes], until: float, *, again: bool) -> Iterator[bytes]:
    while True:
        for request in requests:
            if time.perf_counter() >= until:
                return
            yield request
        if not again:
            return


def _ask(caller: Caller, coming: Iterator[bytes]) -> bool:
    """Whether there was anything left to ask."""
    request = next(coming, None)
    if request is None:
        return False
    caller.asked_at = time.perf_counter()
    caller.socket.sendall(request)
    return True


def status_of(caller: Caller) -> int | None:
    """The status of an answer that is there as a whole."""
    head, end, body = caller.heard.partition(b"\r\n\r\n")
    if not end:
        return None
    length = _LENGTH.search(head)
    if length and len(body) < int(length[1]):
        return None
    caller.heard = b""
    return int(head[9:12])


def _nobody_answers() -> list[tuple[int, int]]:
    raise TimeoutError("no answer for 30 seconds")


def hung_up() -> bytes:
    raise ConnectionError("the server hung up")


if __name__ == "__main__":
    main()
