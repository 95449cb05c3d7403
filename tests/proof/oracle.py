"""What the service ought to do, said once more in plain Python: no database, no tasks, no clock. It knows jobs, runs,
credits and the order of events; everything it says is compared with the service after each step (T4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

UNFINISHED = ("queued", "submitting", "submitted", "running", "storing")
AT_FAL = ("submitting", "submitted", "running")
CREDITS = 40


class Refused(Exception):
    """The service has to say no, and change nothing."""


@dataclass
class Attempt:
    """`arrived`: fal has it; `known`: we know so. `watched`: we still look for it by ourselves."""

    id: str
    status: str = "sending"
    arrived: bool = False
    known: bool = False
    watched: bool = True


@dataclass
class Job:
    id: str
    price: int
    most: int
    run: Run | None = None
    pays: bool = True
    status: str = "queued"
    hold: str = "open"
    due: bool = True
    """Whether it is on the list of jobs to be sent."""
    attempts: list[Attempt] = field(default_factory=list)


@dataclass
class Run:
    id: str
    whole: bool
    slots: list[Job] = field(default_factory=list)
    status: str = "running"
    unsettled: bool = False

    def count(self, status: str) -> int:
        return sum(job.status == status for job in self.slots)

    @property
    def live(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def price(self) -> int:
        return sum(job.price for job in self.slots)


@dataclass
class Oracle:
    available: int = CREDITS
    held: int = 0
    spent: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    events: list[tuple[str, str | None]] = field(default_factory=list)

    # Beginning

    def accept(self, job: Job) -> None:
        if job.pays:
            self._hold(job.price, job.id)
        self.jobs[job.id] = job
        self._say("job.queued", job.id)

    def accept_run(self, run: Run) -> None:
        if run.price > self.available:
            raise Refused
        if run.whole:
            self._hold(run.price, run.id)
        self.runs[run.id] = run
        self._say("run.created", run.id)
        for job in run.slots:
            self.accept(job)

    def grant(self, amount: int) -> None:
        self.available += amount
        self._say("credits.granted", None)

    # At fal

    def send(self, job: Job, fate: str, attempt: str) -> None:
        """One turn of the job on the list: sent, unless its run is paused or it has moved on."""
        job.due = False
        if job.status != "queued" or (job.run and job.run.status == "paused"):
            return
        job.attempts.append(sent := Attempt(attempt))
        job.status = "submitting"
        self._say("job.submitting", job.id)
        sent.arrived = fate in ("accepted", "answer lost", "died")
        if fate == "accepted":
            sent.status, sent.known, job.status = "accepted", True, "submitted"
            self._say("job.submitted", job.id)
        elif fate in ("answer lost", "request lost"):
            self._say("notice", job.id)
        elif fate in ("unsent", "turned away"):
            sent.status, sent.watched, job.status, job.due = "not_accepted", False, "queued", True
            self._say("job.retrying", job.id)
        elif fate == "died":
            job.due = True  # inherited by whoever lives next, who will find nothing to do

    def look(self, job: Job, attempt: Attempt, finding: str) -> bool:
        """The reconciler looks. Whether a completion comes of it."""
        if attempt.status not in ("sending", "accepted"):
            attempt.watched = False
            return False
        newest = attempt is job.attempts[-1]
        if not attempt.known:
            return self._search(job, attempt, finding)
        if finding == "running" and newest and job.status == "submitted":
            job.status = "running"
            self._say("job.started", job.id)
        attempt.watched = finding == "running"
        return finding != "running"

    def _search(self, job: Job, attempt: Attempt, finding: str) -> bool:
        newest = attempt is job.attempts[-1]
        if attempt.arrived:
            attempt.known, attempt.status = True, "accepted"
            attempt.watched = finding == "running"
            if newest and job.status == "submitting":
                job.status = "submitted"
                self._say("job.submitted", job.id)
            return finding != "running"
        return False

    def give_up_on(self, job: Job, attempt: Attempt) -> None:
        """No trace of it within the grace time."""
        bought = self._bought(job, attempt)
        attempt.watched, attempt.status = False, "abandoned"
        if attempt is not job.attempts[-1] or job.status != "submitting":
            return
        if bought >= job.most:
            self._end(job, "failed")
        else:
            job.status, job.due = "queued", True
            self._say("job.retrying", job.id)

    def complete(self, job: Job, attempt: Attempt, outcome: str) -> None:
        """A completion is read."""
        if attempt.status == "ended":
            return
        bought = self._bought(job, attempt)
        attempt.status, attempt.watched, attempt.known = "ended", False, True
        this_one = attempt is job.attempts[-1]
        if outcome == "ok" and job.status in (*AT_FAL, "queued"):
            job.status = "storing"
            self._say("job.generated", job.id)
        elif outcome == "fault" and bought < job.most:
            if this_one and job.status in AT_FAL:
                job.status, job.due = "queued", True
                self._say("job.retrying", job.id)
        elif outcome != "ok" and this_one and job.status in UNFINISHED:
            self._end(job, "failed")

    def _bought(self, job: Job, this: Attempt) -> int:
        return sum(each is this or each.status in ("accepted", "ended", "abandoned") for each in job.attempts)

    def store(self, job: Job, *, lost: bool) -> None:
        if job.status == "storing":
            self._end(job, "failed" if lost else "completed")

    # People

    def cancel(self, job: Job) -> None:
        if job.status in ("completed", "failed"):
            raise Refused
        if job.status != "cancelled":
            self._end(job, "cancelled")

    def overdue(self, job: Job) -> None:
        """Its deadline has passed, and somebody looks."""
        waits = job.status == "queued" and job.run is not None and job.run.status == "paused"
        if job.status in UNFINISHED and job.status != "storing" and not waits:
            self._end(job, "cancelled")

    def pause(self, run: Run) -> None:
        self._legal(run.live)
        if run.status == "running":
            self._become(run, "paused", "run.paused")

    def resume(self, run: Run) -> None:
        self._legal(run.live)
        if run.status == "paused":
            self._become(run, "running", "run.resumed")
            for job in run.slots:
                job.due = job.due or job.status == "queued"

    def cancel_run(self, run: Run) -> None:
        self._legal(run.status not in ("completed", "failed"))
        if run.status != "cancelled":
            if run.whole:
                self._void(run.price, run.id)
            self._become(run, "cancelled", "run.cancelled")
            run.unsettled = True
        self._end_rest(run)

    def retry(self, job: Job, new: Job) -> None:
        self._legal(job.status in ("failed", "cancelled"))
        if job.run is None:
            return self.accept(new)
        self._legal(job in job.run.slots)
        return self._refill(job.run, [job], [new])

    def retry_failed(self, run: Run, new: list[Job]) -> None:
        self._refill(run, over(run), new)

    def _refill(self, run: Run, old: list[Job], new: list[Job]) -> None:
        self._legal(not run.whole and run.status not in ("failed", "cancelled"))
        if sum(job.price for job in new) > self.available:
            raise Refused
        for before, job in zip(old, new, strict=True):
            run.slots[run.slots.index(before)] = job
            self.accept(job)
        if run.status == "completed" and new:
            self._become(run, "running", "run.resumed")

    # Ending

    def settle(self, run: Run) -> None:
        """The task that pays for a run as a whole, or gives back what it holds."""
        run.unsettled = False
        if run.live and run.count("completed") == len(run.slots):
            self.held, self.spent = self.held - run.price, self.spent + run.price
            self._say("credits.posted", run.id)
            self._become(run, "completed", "run.completed")
        elif run.live:
            self._void(run.price, run.id)
            self._become(run, "failed", "run.failed")
        if run.status != "completed":
            self._end_rest(run)

    def _end_rest(self, run: Run) -> None:
        for job in run.slots:
            if job.status in UNFINISHED:
                self._end(job, "cancelled")

    def _end(self, job: Job, status: str) -> None:
        if job.pays and status == "completed":
            self.held, self.spent, job.hold = self.held - job.price, self.spent + job.price, "post"
            self._say("credits.posted", job.id)
        elif job.pays:
            self._void(job.price, job.id)
            job.hold = "void"
        if job.status == "queued":
            job.due = False
        job.status = status
        self._say(f"job.{status}", job.id)
        if (run := job.run) is not None and job in run.slots:
            self._progress(run, failed=status != "completed")

    def _progress(self, run: Run, *, failed: bool) -> None:
        self._say("run.progress", run.id)
        all_over = all(job.status not in UNFINISHED for job in run.slots)
        if run.live and run.whole and (all_over or failed):
            run.unsettled = True
        elif run.live and not run.whole and all_over:
            self._become(run, "completed", "run.completed")

    # Money and words

    def _hold(self, amount: int, owner: str) -> None:
        if amount > self.available:
            raise Refused
        self.available, self.held = self.available - amount, self.held + amount
        self._say("credits.held", owner)

    def _void(self, amount: int, owner: str) -> None:
        self.available, self.held = self.available + amount, self.held - amount
        self._say("credits.voided", owner)

    def _become(self, run: Run, status: str, event: str) -> None:
        run.status = status
        self._say(event, run.id)

    def _legal(self, legal: bool) -> None:
        if not legal:
            raise Refused

    def _say(self, event: str, about: str | None) -> None:
        self.events.append((event, about))


def over(run: Run) -> list[Job]:
    return [job for job in run.slots if job.status in ("failed", "cancelled")]
