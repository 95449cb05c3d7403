"""T20: synced before it is answered. A job accepted and a completion taken in at the door are on disk when the 2xx
leaves, in the order in which the kernel was asked: the pages are written, the log is synced, the socket is written to.

The same is looked at in a copy of the service that does not wait for its disk. There no answer may seem to be synced:
else nothing would be shown by those that are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import letters
from tests.bench.load import load
from tests.proof.letterbox import letterbox
from tests.proof.planted import bugs, copy_tree
from tests.proof.scoreboard import Effort, Score
from tests.running import ROOT
from tests.system_calls import followed, why_not

ACCEPT, DOOR = "/api/v1/jobs", "/api/webhooks/fal/"
_CALLS = "pwrite64,pwritev,fdatasync,fsync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
_PATIENCE = 600.0
_FEW = 50
"""In the control. Without waiting the log is still synced when it is moved into the database, every 4,000 pages."""
_WRITES = re.compile(r"pwrite(?:64|v)\(\d+<[^>]*-wal>")
_SYNCS = re.compile(r"(?:fdatasync|fsync)\(\d+<[^>]*-wal>")
_ENDS = re.compile(r"(?:fdatasync|fsync)(?:\(| resumed>).* = (-?\d+)")
_ASKS = re.compile(r'"POST (\S+)')
_ANSWERS = re.compile(r'"HTTP/1\.1 (\d{3})')


@dataclass(frozen=True)
class Answer:
    """`wrote`: since it was asked, pages were written; `synced`: the last of them was on disk when it was answered."""

    path: str
    status: int
    wrote: bool
    synced: bool


def prove_synced(effort: Effort, folder: Path) -> Iterator[Score]:
    if refused := why_not():
        yield Score("T20", "sync before answer", refused=refused)
        return
    count = effort.of(100, 1_000)
    answers = _answered(ROOT, folder / "full", count)
    for name, path in (("accept", ACCEPT), ("door", DOOR)):
        mine = [answer for answer in answers if answer.path.startswith(path)]
        after = sum(answer.wrote and answer.synced for answer in mine)
        wrong = [f"{count - after} of {count} answers were not on disk"] if after != count else []
        yield Score("T20", f"sync before answer: {name}", {"answers": len(mine), "after sync": after}, wrong)
    careless = folder / "careless"
    copy_tree(careless)
    next(bug for bug in bugs() if bug.name == "not_synced").plant(careless)
    answers = _answered(careless, folder / "normal", _FEW)
    after = sum(answer.synced for answer in answers)
    wrong = [f"{after} answers of a service that never waits seem to be on disk"] if after else []
    if not all(answer.wrote for answer in answers):
        wrong.append("answers of which nothing was written")
    yield Score("T20", "control: not waiting for the disk", {"answers": len(answers), "after sync": after}, wrong)


def _answered(code: Path, folder: Path, count: int) -> list[Answer]:
    """So many jobs and so many completions, one after the other: whatever is written belongs to what was asked."""
    trace = folder / "calls"
    with letterbox(folder, count, code=code) as box:
        assert box.service.process
        with followed(box.service.process.pid, _CALLS, trace):
            port = box.service.port
            said = load(port, [letters.job(ACCEPT, box.service.key)] * count, 1, _PATIENCE, again=False).statuses
            said += load(port, [box.letter(a) for a in box.waiting], 1, _PATIENCE, again=False).statuses
    assert said == Counter({202: count, 200: count}), said
    with trace.open(errors="replace") as lines:
        answers = [answer for answer in in_order(lines) if answer.path.startswith((ACCEPT, DOOR))]
    assert len(answers) == 2 * count, f"{len(answers)} answers of {2 * count} were seen"
    return answers


def in_order(lines: Iterable[str]) -> Iterator[Answer]:
    """What strace saw, as answers. A sync takes with it what was written before it began, once it has ended well."""
    written, on_disk, path, before = 0, 0, "", 0
    syncing: dict[str, int] = {}
    for line in lines:
        thread = line.partition(" ")[0]
        if _WRITES.search(line):
            written += 1
        elif _SYNCS.search(line):
            syncing[thread] = written
        elif asks := _ASKS.search(line):
            path, before = asks[1], written
        elif answers := _ANSWERS.search(line):
            yield Answer(path, int(answers[1]), written > before, on_disk == written)
        if ended := _ENDS.search(line):
            began = syncing.pop(thread, 0)
            on_disk = max(on_disk, began) if ended[1] == "0" else on_disk
