"""Good letters at a steady pace, a second of them alone and a second in a flood of forgeries, by turns.
`python -m tests.proof.flood PORT PID FOLDER`

A program of its own, so that it does not wait for whoever looks on. Each letter counts from the moment it was due, so
that a stall is not hidden. `FOLDER` holds the files `good` and `forged`; of the good ones each is sent once. Seconds in
which the machine had much else to do say nothing of the service: it goes on until there were enough quiet ones.
"""

import argparse
import json
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from tests.bench.load import Caller, hung_up, status_of, unpacked
from tests.bench.machine import Others

_CALLERS = 64
_PATIENCE = 30.0
QUIET = 0.5
"""Cores busy with what is none of ours, at most."""


@dataclass
class Turn:
    """What good letters took, and what was said to the forged ones. `seconds`: until the last answer; `others`: cores
    that were busy with what is none of ours."""

    latencies: list[float] = field(default_factory=list)
    good: Counter[int] = field(default_factory=Counter)
    forged: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    others: float = 0.0


class Post:
    """Two kinds of letters, each with connections of its own, on one poll."""

    def __init__(self, port: int) -> None:
        self._poll = select.epoll()
        self._callers: dict[int, tuple[Caller, bool]] = {}
        self._free: dict[bool, deque[Caller]] = {True: deque(), False: deque()}
        for good in (True, False):
            for _ in range(_CALLERS):
                caller = Caller(socket.create_connection(("127.0.0.1", port)))
                caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._poll.register(caller.socket, select.EPOLLIN)
                self._callers[caller.socket.fileno()] = caller, good
                self._free[good].append(caller)

    def turn(self, good: Sequence[bytes], forged: Sequence[bytes]) -> Turn:
        """A second."""
        turn, began = Turn(), time.perf_counter()
        waiting = {
            kind: deque((began + n / len(letters), letter) for n, letter in enumerate(letters))
            for kind, letters in ((True, good), (False, forged))
        }
        while turn.good.total() + turn.forged.total() < len(good) + len(forged):
            assert time.perf_counter() - began < _PATIENCE, "it does not answer"
            for kind, letters in waiting.items():
                self._send(letters, self._free[kind])
            for number, _event in self._poll.poll(0.001):
                self._heard(number, turn)
        turn.seconds = time.perf_counter() - began
        return turn

    def _send(self, letters: deque[tuple[float, bytes]], free: deque[Caller]) -> None:
        """All that are due, as far as there are connections."""
        while letters and free and letters[0][0] <= time.perf_counter():
            caller = free.popleft()
            caller.asked_at, letter = letters.popleft()
            caller.socket.sendall(letter)

    def _heard(self, number: int, turn: Turn) -> None:
        caller, good = self._callers[number]
        caller.heard += caller.socket.recv(65536) or hung_up()
        if (status := status_of(caller)) is None:
            return
        self._free[good].append(caller)
        if good:
            turn.latencies.append(time.perf_counter() - caller.asked_at)
        (turn.good if good else turn.forged)[status] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int, help="the service's process")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, required=True, help="so many quiet ones of each kind")
    parser.add_argument("--good", type=int, required=True, help="good letters a second")
    parser.add_argument("--forged", type=int, required=True, help="forgeries a second")
    given = parser.parse_args()
    good, forged = (unpacked((given.folder / name).read_bytes()) for name in ("good", "forged"))
    post, flood, quiet = Post(given.port), list(islice(cycle(forged), given.forged)), 0
    while quiet < given.turns and len(good) >= 2 * given.good:
        pair = []
        for forgeries in ([], flood):
            letters, good = good[: given.good], good[given.good :]
            with Others([given.pid]) as others:
                pair.append(post.turn(letters, forgeries))
            pair[-1].others = others.cores
        quiet += all(turn.others < QUIET for turn in pair)
        print(json.dumps([vars(turn) for turn in pair]), flush=True)


if __name__ == "__main__":
    main()
