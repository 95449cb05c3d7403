"""Readers who all come back at once, and one who reads nothing: what they cost our streams, beside events sent live.

Everybody here is a plain socket. Of each who came back is looked at whether he heard every number once, in order.
"""

import re
import select
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import streams as live
from tests.bench.machine import Others, cpu
from tests.bench.table import Goal, Row, Size

_SEQ = re.compile(rb'data: \{"seq":(\d+),')
_ASK = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%b\r\n"
MISSED = 200


def storm(size: Size, folder: Path) -> Iterator[Row]:
    """Readers who missed 200 events each, beside as many readers to whom those are sent live."""
    readers = 20 if size.tiny else 1000
    client = folder / "sse_load"
    subprocess.run(["gcc", "-O2", "-o", client, live.HERE / "sse_load.c"], check=True)
    with Others([]) as others:
        back = [_came_back(folder, readers) for _ in range(size.rounds)]
        sent = [live.measured("darkroom", folder, client, readers, MISSED, 0.0).server_cpu for _ in range(size.rounds)]
        with_him, without = _stalled(size, folder, client, readers)
    ours, baseline = min(back), max(min(sent), 1e-3)
    yield Row(
        "storm of readers",
        "CPU s",
        ours,
        "the same frames sent live",
        baseline,
        ours / baseline,
        goal=Goal(3.0, above=False),
        others=others.cores,
        twin=f"{readers} readers heard {MISSED} numbers each, in order, none twice",
        more={"readers": readers, "missed": MISSED},
    )
    yield Row(
        "one stalled reader",
        "CPU us",
        with_him,
        "without him",
        without,
        with_him / without,
        goal=Goal(1.1, above=False),
        others=others.cores,
        twin="the others lost nothing",
        more={"readers": readers},
    )


def _came_back(folder: Path, readers: int) -> float:
    """Seconds of CPU of the server, from their asking to their having heard it all."""
    with live.server("darkroom", folder) as (pid, port):
        for _ in range(MISSED):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/publish", data=b"").close()
        before, poll = cpu(pid), select.epoll()
        lines = {}
        for _ in range(readers):
            line = socket.create_connection(("127.0.0.1", port))
            line.sendall(_ASK % b"Last-Event-ID: 0\r\n")
            poll.register(line, select.EPOLLIN)
            lines[line.fileno()] = (line, bytearray())
        wanted, until = list(range(1, MISSED + 1)), time.monotonic() + 60
        missing = set(lines)
        while missing:
            assert time.monotonic() < until, f"{len(missing)} readers still wait"
            for number, _event in poll.poll(1.0):
                line, heard = lines[number]
                heard += line.recv(1 << 16)
                if len(heard) > MISSED * 100 and (found := _SEQ.findall(heard)) and int(found[-1]) == MISSED:
                    assert [int(seq) for seq in found] == wanted
                    missing.discard(number)
        spent = cpu(pid) - before
        for line, _ in lines.values():
            line.close()
    return spent


def _stalled(size: Size, folder: Path, client: Path, readers: int) -> tuple[float, float]:
    """CPU for one event, at 20,000 deliveries a second, with a reader who takes nothing and without."""
    events = max(10, size.of(60_000) // readers)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(size.rounds):
        for there, each in spent.items():
            done = live.measured("darkroom", folder, client, readers, events, 0.0, beside=_idler if there else None)
            assert done.said["lost"] == done.said["twice"] == done.said["disordered"] == 0
            each.append(1e6 * done.server_cpu / done.said["delivered"])
    return min(spent[True]), max(min(spent[False]), 1e-3)


@contextmanager
def _idler(port: int) -> Iterator[None]:
    """Asks, and reads nothing."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", port))
        line.sendall(_ASK % b"")
        yield
