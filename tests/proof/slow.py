"""T14: readers who are slow, and readers who all come back at once. Whoever reads nothing is cut within half a minute
and costs no more than a little memory, ours and the kernel's, and those who do read do not notice him. When the service
is killed with a crowd attached, all are back within half a minute, nobody is told of a fault, and nobody misses a word.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.bench import letters
from tests.bench.load import load
from tests.bench.machine import memory
from tests.proof.crowd import Crowd
from tests.proof.letterbox import Letterbox, letterbox
from tests.proof.scoreboard import Effort, Score

_WITHIN = 30.0
_ORDERS = 100
"""A second; each is told in two events."""
_KB_OURS, _KB_KERNEL = 64.0, 512.0
"""For each reader who reads nothing, at most."""
_LAG, _TIMES = 1.0, 2.0
"""Seconds that good readers may be behind at worst, unless they were half as much behind before."""
_AT_FIRST = 3.0
_MISSED = 100
"""Orders placed before the first of them is back."""
_SOCKET = re.compile(r"^ *\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ \S+ ([0-9A-F]{8}):", re.MULTILINE)


def prove_slow(effort: Effort, folder: Path) -> Iterator[Score]:
    with letterbox(folder / "slow") as box:
        yield _beside_the_deaf(box, effort.of(30, 100), effort.of(100, 500), Random(effort.seed))
    with letterbox(folder / "herd") as box:
        yield _killed(box, effort.of(200, 1_000), Random(effort.seed))


def _beside_the_deaf(box: Letterbox, good: int, deaf: int, dice: Random) -> Score:
    service = box.service
    assert service.process
    pid, wrong = service.process.pid, list[str]()
    with Crowd(service.port, service.key, dice) as crowd:
        crowd.follow(good)
        assert crowd.until(lambda: all(reader.listening for reader in crowd.readers), within=_WITHIN)
        first = memory(pid)
        crowd.until(lambda: False, orders=_ORDERS, within=_AT_FIRST)
        before, crowd.lags = _slowest(crowd.lags), []
        ours, ordered = memory(pid), crowd.answered.total()
        crowd.follow_deaf(deaf)
        most = [ours, 0.0]

        def all_cut() -> bool:
            most[:] = max(most[0], memory(pid)), max(most[1], _kernel_holds(service.port))
            return all(each.cut_after is not None for each in crowd.deaf)

        if not crowd.until(all_cut, orders=_ORDERS, within=_WITHIN):
            wrong.append(
                f"{sum(d.cut_after is None for d in crowd.deaf)} of {deaf} who read nothing are still attached"
            )
        after = _slowest(crowd.lags)
        for_orders = (ours - first) * (crowd.answered.total() / ordered - 1)
        wrong += _not_whole(crowd, box)
    cut = max((each.cut_after or 0.0 for each in crowd.deaf), default=0.0)
    each_ours, each_kernel = max(0.0, most[0] - ours - for_orders) / deaf, most[1] / 1024
    if cut > _WITHIN:
        wrong.append(f"one who read nothing was cut after {cut:.0f} s")
    if each_ours > _KB_OURS or each_kernel > _KB_KERNEL:
        wrong.append(f"one who reads nothing takes {each_ours:.0f} KB of ours, {each_kernel:.0f} KB of the kernel's")
    if after > max(_LAG, _TIMES * before):
        wrong.append(f"good readers were {after:.1f} s behind, {before:.1f} s without the others")
    counts = {"deaf": deaf, "last cut after s": round(cut, 1), "KB each": round(each_ours, 1)}
    counts |= {"KB in the kernel": round(each_kernel), "good": good, "p99 lag ratio": round(after / before, 2)}
    return Score("T14", "readers who read nothing", counts, wrong)


def _killed(box: Letterbox, readers: int, dice: Random) -> Score:
    service = box.service
    with Crowd(service.port, service.key, dice) as crowd:
        crowd.follow(readers)
        assert crowd.until(lambda: all(reader.listening for reader in crowd.readers), within=_WITHIN)
        crowd.until(lambda: False, orders=_ORDERS / 10, within=_AT_FIRST)
        crowd.until(crowd.orders_answered, within=_WITHIN)
        service.kill()
        assert crowd.until(lambda: not any(reader.listening for reader in crowd.readers), within=_WITHIN)
        service.start()
        load(service.port, [letters.job("/api/v1/jobs", service.key)] * _MISSED, 8, _WITHIN, again=False)
        began, wrong = time.monotonic(), list[str]()
        if not crowd.until(lambda: all(reader.listening for reader in crowd.readers), within=_WITHIN):
            wrong.append(
                f"{sum(not r.listening for r in crowd.readers)} of {readers} are not back after {_WITHIN:.0f} s"
            )
        back = time.monotonic() - began
        crowd.until(lambda: False, orders=_ORDERS / 10, within=_AT_FIRST)
        wrong += _not_whole(crowd, box)
        wrong += [f"{n} readers were answered {status}" for status, n in crowd.refused.items() if status]
    counts = {"readers": readers, "back after s": round(back, 1), "events": crowd.readers[0].last}
    return Score("T14", "killed with a crowd attached", counts, wrong)


def _not_whole(crowd: Crowd, box: Letterbox) -> Iterator[str]:
    """Once nothing more is ordered, everybody has to hear of the newest event, and to have heard of all before it."""
    crowd.until(crowd.orders_answered, within=_WITHIN)
    newest = box.newest_event()
    crowd.until(lambda: all(reader.last == newest for reader in crowd.readers), within=_WITHIN)
    if behind := sum(reader.last != newest for reader in crowd.readers):
        yield f"{behind} readers have not heard event {newest}"
    missed, again = (sum(getattr(r, what) for r in crowd.readers) for what in ("missed", "again"))
    if missed or again:
        yield f"events were missed {missed} times and heard again {again} times"
    if odd := {status: n for status, n in crowd.answered.items() if status not in (202, 0)}:
        yield f"orders were answered {odd}"


def _slowest(lags: list[float]) -> float:
    """Of a hundred."""
    return sorted(lags)[len(lags) * 99 // 100]


def _kernel_holds(port: int) -> int:
    """Bytes that wait in the kernel for the slowest of those who are connected there."""
    found = _SOCKET.findall(Path("/proc/net/tcp").read_text())
    return max((int(waiting, 16) for local, waiting in found if int(local, 16) == port), default=0)
