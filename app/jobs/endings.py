"""How a job ends: its state, its hold, its place in the run and its event, in one stroke. Every stage that ends a job
comes through here, so that a hold is settled once, whoever is first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import bindparam, update

from app.catalog.failures import FAILURES, Code
from app.core.events import Event, Topic
from app.credits.ledger import Hold, post, void
from app.jobs.accept import dispatch_key, topic_of
from app.jobs.events import JobCancelled, JobCompleted, JobFailed, RunCompleted, RunProgress
from app.jobs.lifecycle import JOB, RUN, JobStatus, RunStatus
from app.jobs.model import JobRow, Policy, RunRow
from app.services import Services
from app.store.advance import advance
from app.store.columns import table
from app.store.tasks import NewTask
from app.store.write import Tx

SETTLE_RUN = "jobs.settle_run"

_R = table(RunRow)
_COUNT = {
    status: update(_R)
    .where(_R.c.id == bindparam("the_run"))
    .values({str(status): _R.c[str(status)] + 1, "updated_at": bindparam("at")})
    .returning(_R.c.status, _R.c.policy, _R.c.total, _R.c.completed, _R.c.failed, _R.c.cancelled)
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
}


def complete(tx: Tx, job: JobRow, assets: Sequence[str], used: int, values: Mapping[str, Any]) -> None:
    """The pictures are ours; `used` credits are posted. Raises `Moved`."""
    topic = topic_of(job)
    held = hold_of(job)

    def settle(tx: Tx) -> None:
        if held is not None:
            post(tx, held, used, topic)

    event = JobCompleted(assets=tuple(assets), credits_posted=used if held else 0)
    posted = {"credits_posted": used if held else 0, "outputs": None, "progress": None, **values}
    _end(tx, job, JobStatus.COMPLETED, event, settle, posted)


def fail(tx: Tx, job: JobRow, code: Code, detail: str, *, only: Mapping[str, Any] | None = None) -> None:
    """The job came to nothing; nothing is charged. Raises `Moved`."""
    problem = problem_of(code, detail)
    _give_back(tx, job, JobStatus.FAILED, JobFailed(code=code, detail=detail), str(code), problem, only)


def cancel(tx: Tx, job: JobRow, reason: Literal["asked", "deadline", "run"]) -> None:
    """Stop the job, wherever it is; a result that still comes is kept, but not charged. Raises `Moved`."""
    problem = problem_of(Code.DEADLINE_PASSED, "") if reason == "deadline" else problem_of(Code.CANCELLED, "")
    _give_back(tx, job, JobStatus.CANCELLED, JobCancelled(reason=reason), reason, problem, None)


def count_ended(services: Services, job: JobRow, status: JobStatus, code: str = "") -> None:
    """For the metrics, after the commit."""
    services.metrics.count("jobs_ended_total", status=status, code=code)
    lasted = (services.clock.now() - job.created_at).total_seconds()
    services.metrics.observe("job_seconds", lasted, model=job.model, status=status)


def problem_of(code: Code, detail: str) -> dict[str, Any]:
    """A failure as the problem document that stands in the job's `error`."""
    failure = FAILURES[code]
    return {
        "type": f"/docs/errors#{code}",
        "title": failure.title,
        "status": failure.status,
        "detail": detail or failure.advice,
        "code": str(code),
        "retryable": failure.retryable,
    }


def settle_task(run: str, workspace: str) -> NewTask:
    return NewTask(SETTLE_RUN, f"{SETTLE_RUN}:{run}", workspace, {"run": run})


def hold_of(job: JobRow) -> Hold | None:
    return Hold(job.hold, job.workspace, job.credits_held, job.id) if job.hold else None


def _give_back(
    tx: Tx,
    job: JobRow,
    status: JobStatus,
    event: Event,
    reason: str,
    problem: dict[str, Any],
    only: Mapping[str, Any] | None,
) -> None:
    held = hold_of(job)

    def settle(tx: Tx) -> None:
        if held is not None:
            void(tx, held, reason, topic_of(job))

    _end(tx, job, status, event, settle, {"error": problem, "outputs": None, "progress": None}, only)


def _end(
    tx: Tx,
    job: JobRow,
    status: JobStatus,
    event: Event,
    settle: Any,
    values: Mapping[str, Any],
    only: Mapping[str, Any] | None = None,
) -> None:
    ended = {"finished_at": tx.now, "waiting": None, **values}
    if job.status is JobStatus.QUEUED:
        ended["note"] = None  # it said what the job waits for
    advance(tx, JOB, JobRow, job.id, status, event, topic_of(job), values=ended, only=only, settle=settle)
    if job.status is JobStatus.QUEUED:
        tx.drop(dispatch_key(job))
    if job.run is not None:
        _count(tx, job.run, status, job)


def _count(tx: Tx, run: str, status: JobStatus, job: JobRow) -> None:
    """One slot fewer to wait for. Under all_or_nothing the run's own money is at stake, and balances are locked before
    rows: a task of its own settles it."""
    found = tx.execute(_COUNT[status], {"the_run": run, "at": tx.now}).one()
    counts = {name: getattr(found, name) for name in ("total", "completed", "failed", "cancelled")}
    done = counts["completed"] + counts["failed"] + counts["cancelled"]
    topic = Topic(job.workspace, run=run, workflow=job.workflow)
    tx.record(RunProgress(done=done, **counts), topic)
    live = found.status in (RunStatus.RUNNING, RunStatus.PAUSED)
    if (
        live
        and found.policy == Policy.ALL_OR_NOTHING
        and (done == counts["total"] or status is not JobStatus.COMPLETED)
    ):
        tx.spawn(settle_task(run, job.workspace))
    elif live and done == counts["total"]:
        ended = {"finished_at": tx.now}
        advance(tx, RUN, RunRow, run, RunStatus.COMPLETED, RunCompleted(**counts), topic, values=ended)
