"""The queue: a line per account, a bounded number of runs at a time, positions, start timeouts, cancel, and the end.

How a run comes to its outcome is not known here: `work` is handed in. The end is in the log before anybody is told;
while the log cannot be written, the run waits.
"""

import asyncio
import bisect
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from app.sandbox import room
from app.sandbox.fal import outcomes
from app.sandbox.fal.outcomes import Outcome
from app.sandbox.fal.submission import Submission
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now

HOUR, SIX_MINUTES, MONTH = 3600.0, 360.0, 30 * 86400.0

Work = Callable[[Submission], Awaitable[Outcome]]
Place = tuple[int, int, str]  # priority, ordinal, request id: sorted, it is the order of the line


@dataclass
class _Line:
    waiting: list[Place] = field(default_factory=list)
    running: set[str] = field(default_factory=set)


class Queue:
    def __init__(self, log: Log, pace: Pace, runners: int, work: Work, price: Callable[[str], int]) -> None:
        self._log, self._pace, self._runners, self._work, self._price = log, pace, runners, work, price
        self._lines: dict[str, _Line] = {}
        self._open: dict[str, Submission] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.closing = False
        self.on_end: Callable[[Submission], object] = lambda _: None

    def resume(self) -> None:
        """After a restart: what had not ended stands in line again, in its old order."""
        for sub in self._log.submissions("state IN ('queued', 'running')"):
            sub.state, sub.started = "queued", None
            self.add(sub)

    def add(self, sub: Submission) -> None:
        self._log.save(sub)
        self._open[sub.id] = sub
        line = self._line(sub)
        bisect.insort(line.waiting, _place(sub))
        if sub.start_by is not None:
            delay = max(0.0, sub.start_by - now())
            self._timers[sub.id] = asyncio.get_running_loop().call_later(delay, self._too_late, sub)
        self._pump(line)

    def start_now(self, sub: Submission) -> asyncio.Task[None] | None:
        """Past the line: only for a run that must end before its submit is answered."""
        if sub.id not in self._runs and sub.state == "queued":
            self._start(self._line(sub), sub)
        return self._runs.get(sub.id)

    def find(self, request_id: str) -> Submission | None:
        return self._open.get(request_id) or self._log.submission(request_id)

    def position(self, sub: Submission) -> int:
        return bisect.bisect_left(self._line(sub).waiting, _place(sub))

    def length(self, endpoint: str) -> int:
        return sum(1 for sub in self._open.values() if sub.endpoint == endpoint and sub.state == "queued")

    def counts(self) -> dict[str, int]:
        return {"open": len(self._open), "running": len(self._runs)}

    def cancel(self, sub: Submission) -> tuple[int, str]:
        """What fal answers: removed from the line, only asked to stop, or too late."""
        if sub.done:
            return 400, "ALREADY_COMPLETED"
        if sub.state == "queued":
            self._end(sub, outcomes.cancelled())
            return 200, "OK"
        elapsed = now() - (sub.started or now())
        if not sub.duration or elapsed < sub.duration / 2:  # a run that is more than half done finishes all the same
            run = self._runs[sub.id]
            self._end(sub, outcomes.cancelled())
            run.cancel()
        return 202, "CANCELLATION_REQUESTED"

    async def close(self) -> None:
        """What is running now stays unfinished in the log and runs again after a restart."""
        for timer in self._timers.values():
            timer.cancel()
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    def _line(self, sub: Submission) -> _Line:
        return self._lines.setdefault(sub.account, _Line())

    def _pump(self, line: _Line) -> None:
        skipped = 0
        while len(line.running) < self._runners and skipped < len(line.waiting):
            sub = self._open[line.waiting[skipped][2]]
            if "[[never]]" in sub.prompt:
                skipped += 1
            else:
                self._start(line, sub)

    def _start(self, line: _Line, sub: Submission) -> None:
        line.waiting.remove(_place(sub))
        line.running.add(sub.id)
        if timer := self._timers.pop(sub.id, None):
            timer.cancel()
        sub.state, sub.started = "running", now()
        self._runs[sub.id] = asyncio.create_task(self._run(sub))

    async def _run(self, sub: Submission) -> None:
        await room.once_there_is_room(lambda: self._log.save(sub))
        try:
            outcome = await self._work(sub)
        except Exception:  # noqa: BLE001 - a mistake of the sandbox must end the request, not the sandbox
            with suppress(OSError):  # where it goes to may be the disk that is full
                traceback.print_exc()
            outcome = outcomes.infrastructure_failure(500, "internal_error", "Internal error")
        await room.once_there_is_room(lambda: self._end(sub, outcome))

    def _too_late(self, sub: Submission) -> None:
        if sub.state != "queued":
            return
        try:
            self._end(sub, outcomes.start_timeout())
        except room.UNWRITABLE as error:
            if not room.passes(error):
                raise
            self._timers[sub.id] = asyncio.get_running_loop().call_later(room.LOOK_AGAIN, self._too_late, sub)

    def _end(self, sub: Submission, outcome: Outcome) -> None:
        """Written down first; when that fails, nothing has changed."""
        state = "cancelled" if outcome.word == "cancelled" else "completed"
        ended = replace(sub, state=state, ended=now())
        self._write_end(ended, outcome)
        self._log.save(ended)
        line = self._line(sub)
        if sub.state == "queued":
            line.waiting.remove(_place(sub))
        self._log.count(f"ended.{outcome.word}")
        line.running.discard(sub.id)
        self._open.pop(sub.id, None)
        self._runs.pop(sub.id, None)
        if timer := self._timers.pop(sub.id, None):
            timer.cancel()
        self.on_end(ended)
        self._pump(line)

    def _write_end(self, sub: Submission, outcome: Outcome) -> None:
        sub.status_code, sub.output, sub.outcome = outcome.status, outcome.text, outcome.word
        sub.units = outcome.units
        sub.cost_micro = round(outcome.units * self._price(sub.endpoint))
        sub.headers = {"X-Fal-Billable-Units": f"{outcome.units:g}", **outcome.headers}
        if outcome.status != 200:
            spelling = "Invalid" if sub.ordinal % 2 == 0 else "Unexpected"  # fal has been seen to use both
            sub.error, sub.error_type = f"{spelling} status code: {outcome.status}", outcome.error_type
        size = len(sub.output)
        short = SIX_MINUTES if size >= 10_000 else HOUR
        sub.webhook_until = self._pace.after(short)
        sub.result_until = self._pace.after(MONTH if sub.keep and size <= 1_000_000 else short)
        if "[[forget]]" in sub.prompt:
            sub.result_until = sub.ended
        sub.webhook_state = "due" if sub.webhook and sub.state == "completed" else "none"


def _place(sub: Submission) -> Place:
    return (sub.priority, sub.ordinal, sub.id)
