"""People who watch while webhooks come in. `python -m tests.bench.listeners PORT FILE TOKENS --path ... --event ...`

Opens the streams, sends the webhooks in the file, and waits until each stream has told of each job. A frame's latency
counts from when its webhook was due, so that a stall is not hidden; only the first stream's frames are looked into, the
others' are counted.
"""

import argparse
import json
import re
import select
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.letters import request
from tests.bench.load import Caller, hung_up, status_of, unpacked
from tests.bench.machine import LAST, pin

_JOB = re.compile(rb"data:[^\n]*?(job_[0-9a-z]{26})[^\n]*\n")
_PATIENCE = 60.0


@dataclass
class Listener:
    socket: socket.socket
    frames: int = 0
    rest: bytes = b""


@dataclass
class Told:
    """When each webhook was due, and when the first stream told of its job."""

    due: dict[str, float] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    twice: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("tokens", type=Path, help="the job each request is about, as a JSON list")
    parser.add_argument("--path", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--event", required=True)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="webhooks a second; 0: as fast as they are answered")
    given = parser.parse_args()
    pin(LAST)
    headers = {"Accept": "text/event-stream", **({"Authorization": f"Bearer {given.key}"} if given.key else {})}
    asking = request("GET", given.path, b"", headers)
    listeners = [_listening(given.port, asking) for _ in range(given.readers)]
    requests, tokens = unpacked(given.file.read_bytes()), json.loads(given.tokens.read_text())
    began = time.perf_counter()
    told = Meeting(given.port, listeners, f"event: {given.event}".encode()).run(requests, tokens, given.rate)
    seconds = time.perf_counter() - began
    latencies = sorted(told.heard[token] - due for token, due in told.due.items() if token in told.heard)
    lost = sum(abs(len(tokens) - listener.frames) for listener in listeners) + len(tokens) - len(latencies)
    told_of = {"lost": lost, "twice": told.twice, "statuses": told.statuses}
    print(json.dumps({"seconds": seconds, "latencies": latencies, **told_of}))


class Meeting:
    """Posters and listeners on one poll."""

    def __init__(self, port: int, listeners: list[Listener], mark: bytes) -> None:
        self._mark = mark
        self._poll = select.epoll()
        self._listeners = {listener.socket.fileno(): listener for listener in listeners}
        self._first = listeners[0]
        posters = [Caller(socket.create_connection(("127.0.0.1", port))) for _ in range(64)]
        self._posters = {poster.socket.fileno(): poster for poster in posters}
        self._free = deque(posters)
        for number in (*self._listeners, *self._posters):
            self._poll.register(number, select.EPOLLIN)

    def run(self, requests: list[bytes], tokens: list[str], rate: float) -> Told:
        told, began, sent = Told(), time.perf_counter(), 0
        while not self._all_heard(told, len(tokens)):
            now = time.perf_counter()
            assert now - began < _PATIENCE + len(tokens) / (rate or 1e9), f"{len(told.heard)} of {len(tokens)} heard"
            while sent < len(requests) and self._free and (not rate or began + sent / rate <= now):
                told.due[tokens[sent]] = began + sent / rate if rate else now
                self._free.popleft().socket.sendall(requests[sent])
                sent += 1
            for number, _event in self._poll.poll(0.001 if rate else 0.05):
                if number in self._listeners:
                    self._listen(self._listeners[number], told)
                else:
                    self._answered(self._posters[number], told)
        return told

    def _all_heard(self, told: Told, count: int) -> bool:
        if len(told.heard) < count or sum(told.statuses.values()) < count:
            return False
        return all(listener.frames >= count for listener in self._listeners.values())

    def _listen(self, listener: Listener, told: Told) -> None:
        data = listener.rest + (listener.socket.recv(1 << 18) or hung_up())
        whole = data.rfind(b"\n") + 1
        data, listener.rest = data[:whole], data[whole:]
        listener.frames += data.count(self._mark)
        if listener is self._first:
            now = time.perf_counter()
            for token in _JOB.findall(data):
                told.twice += token.decode() in told.heard
                told.heard.setdefault(token.decode(), now)

    def _answered(self, poster: Caller, told: Told) -> None:
        poster.heard += poster.socket.recv(65536) or hung_up()
        if (status := status_of(poster)) is not None:
            told.statuses[str(status)] += 1
            self._free.append(poster)


def _listening(port: int, asking: bytes) -> Listener:
    """A stream that has begun."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(asking)
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536) or b"hung up\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 200"), head
    return Listener(connection, rest=head.partition(b"\r\n\r\n")[2])


if __name__ == "__main__":
    main()
