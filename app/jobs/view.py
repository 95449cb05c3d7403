"""A job and a run as a caller sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from app.assets.model import AssetView
from app.catalog.failures import FAILURES
from app.jobs.lifecycle import JobStatus, RunStatus
from app.jobs.model import AttemptRow, AttemptStatus, Job, Policy, Priority, RunRow


class ProgressView(BaseModel):
    """How far a job is at fal. It is looked for only while somebody watches: streams and looks at the job, its run or
    its workspace's events count for a minute. Null before the first look, while the job waits or is stored, and when it
    ended without pictures; a completed one is at 100 percent. `queue_position` is null unless fal has it in a queue.
    `estimated` says that the percentage comes from the time the model usually takes, not from fal."""

    percent: int | None = None
    queue_position: int | None = None
    eta_seconds: int | None = None
    estimated: bool = True


class JobCredits(BaseModel):
    """`held` is set aside now: none any more once the job or the run is settled. `posted` was spent."""

    held: int
    posted: int


class Urls(BaseModel):
    """Where to look, stop and listen. `self` is the thing's own address."""

    model_config = ConfigDict(populate_by_name=True)

    self: str
    cancel: str
    stream: str


class JobError(BaseModel):
    """Why a job came to nothing, as a problem: `status` is what the same would be as an answer, `code` one of the
    failures in /docs/errors, `retryable` whether the same request as a new job has a fair chance."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool


class JobView(BaseModel):
    """`attempt` counts the submissions that fal took, or may have taken, and `max_attempts` bounds them; its list of
    attempts also has those that were turned away, and its events number all of them. `note` says what it waits for, or
    what to know about its pictures. `seq` is the number of the newest event this snapshot already contains: follow the
    stream from there."""

    id: str
    object: Literal["job"] = "job"
    status: JobStatus
    model: str
    input: dict[str, Any]
    reference_images: list[str]
    run: str | None
    slot: int | None
    retry_of: str | None
    priority: Priority
    attempt: int
    max_attempts: int
    progress: ProgressView | None
    assets: list[AssetView]
    error: JobError | None
    note: str | None
    credits: JobCredits
    seed: str | None
    metadata: dict[str, str]
    not_before: datetime | None
    deadline_at: datetime
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    urls: Urls
    seq: int | None = None


class AttemptView(BaseModel):
    """One submission to fal. `extra` counts executions fal made beyond it."""

    id: str
    object: Literal["attempt"] = "attempt"
    job: str
    number: int
    endpoint: str
    status: AttemptStatus
    request_id: str | None
    arguments: dict[str, Any]
    outcome: str | None
    detail: str | None
    extra: int
    looks: int
    billable_units: float | None
    cost_micro_usd: int | None
    created_at: datetime
    accepted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class Counts(BaseModel):
    total: int
    completed: int
    failed: int
    cancelled: int


class RunView(BaseModel):
    """`counts` are of slots that have ended. `credits` sum up the run and its jobs."""

    id: str
    object: Literal["run"] = "run"
    status: RunStatus
    name: str
    workflow: str | None
    policy: Policy
    ceiling: int | None
    counts: Counts
    credits: JobCredits
    metadata: dict[str, str]
    jobs: list[str]
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    urls: Urls
    seq: int | None = None


def job_view(base: str, job: Job, assets: Sequence[AssetView] = (), seq: int | None = None) -> JobView:
    return JobView(
        id=job.id,
        status=job.status,
        model=job.model,
        input=job.input,
        reference_images=job.reference_images,
        run=job.run,
        slot=job.slot,
        retry_of=job.retry_of,
        priority=job.priority,
        attempt=job.attempt - job.turned_away,
        max_attempts=job.max_attempts,
        progress=_progress(job),
        assets=list(assets),
        error=_error(job),
        note=_note(job),
        credits=JobCredits(held=0 if job.finished_at else job.credits_held, posted=job.credits_posted),
        seed=job.seed,
        metadata=job.meta,
        not_before=job.not_before,
        deadline_at=job.deadline_at,
        created_at=job.created_at,
        updated_at=job.updated_at,
        finished_at=job.finished_at,
        urls=urls(base, "jobs", job.id),
        seq=seq,
    )


def _note(job: Job) -> str | None:
    said = (job.note, job.waiting["note"] if job.waiting else None)
    return " ".join(filter(None, said)) or None


def _error(job: Job) -> JobError | None:
    if job.error is None:
        return None
    failure = FAILURES.get(job.error["code"])  # none: only the next version knows it
    return JobError(**{"status": failure.status if failure else 500, **job.error})  # those of before say none


def _progress(job: Job) -> ProgressView | None:
    if job.status is JobStatus.COMPLETED:
        return ProgressView(percent=100, estimated=False)
    return ProgressView(**job.progress) if job.progress else None


def attempt_view(attempt: AttemptRow) -> AttemptView:
    return AttemptView(**{name: getattr(attempt, name) for name in AttemptView.model_fields if name != "object"})


def run_view(base: str, run: RunRow, jobs: Sequence[str], paid: JobCredits, seq: int | None = None) -> RunView:
    return RunView(
        id=run.id,
        status=run.status,
        name=run.name,
        workflow=run.workflow,
        policy=run.policy,
        ceiling=run.ceiling,
        counts=Counts(total=run.total, completed=run.completed, failed=run.failed, cancelled=run.cancelled),
        credits=paid,
        metadata=run.meta,
        jobs=list(jobs),
        created_at=run.created_at,
        updated_at=run.updated_at,
        finished_at=run.finished_at,
        urls=urls(base, "runs", run.id),
        seq=seq,
    )


def urls(base: str, kind: str, id_: str) -> Urls:
    here = f"{base}/api/v1/{kind}/{id_}"
    return Urls(self=here, cancel=f"{here}/cancel", stream=f"{here}/stream")
