"""What the line tells its readers: each move of a job or a run, and what goes on in between. Together a job's events
are enough to rebuild what `GET jobs/{id}` shows of its state."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.core.events import Event


class JobQueued(Event):
    type = "job.queued"

    model: str
    retry_of: str | None = None


class JobSubmitting(Event):
    """`attempt` is its number in the job's list of attempts, which counts those that were turned away as well."""

    type = "job.submitting"

    attempt: int


class JobSubmitted(Event):
    """`attempt` is its number in the job's list of attempts, which counts those that were turned away as well."""

    type = "job.submitted"

    attempt: int


class JobStarted(Event):
    """`attempt` is its number in the job's list of attempts, which counts those that were turned away as well."""

    type = "job.started"

    attempt: int


class JobRetrying(Event):
    """The job waits to be sent again: why, and not before when. `attempt` is the number in its list of attempts of the
    one that came to nothing."""

    type = "job.retrying"

    attempt: int
    code: str
    detail: str
    next_at: datetime


class JobGenerated(Event):
    """`attempt` is its number in the job's list of attempts, which counts those that were turned away as well."""

    type = "job.generated"

    attempt: int
    files: int


class JobCompleted(Event):
    type = "job.completed"

    assets: tuple[str, ...]
    credits_posted: int


class JobFailed(Event):
    type = "job.failed"

    code: str
    detail: str


class JobCancelled(Event):
    type = "job.cancelled"

    reason: Literal["asked", "deadline", "run"]


class JobProgress(Event):
    """`estimated` says that `percent` comes from the time the model usually takes, not from fal."""

    type = "job.progress"

    percent: int | None = None
    queue_position: int | None = None
    eta_seconds: int | None = None
    estimated: bool = True
    log: str | None = None


class RunCreated(Event):
    type = "run.created"

    name: str
    total: int


class RunProgress(Event):
    """`done` of `total` slots have ended."""

    type = "run.progress"

    done: int
    total: int
    completed: int
    failed: int
    cancelled: int


class RunPaused(Event):
    type = "run.paused"


class RunResumed(Event):
    type = "run.resumed"

    retried: int = 0


class RunCompleted(Event):
    type = "run.completed"

    total: int
    completed: int
    failed: int
    cancelled: int


class RunFailed(Event):
    type = "run.failed"

    job: str | None
    code: str
    detail: str


class RunCancelled(Event):
    type = "run.cancelled"


class Notice(Event):
    """What a person should be told: a breadcrumb for a page, a toast, a line for whoever owns the night."""

    type = "notice"

    level: Literal["info", "warning", "error"]
    code: str
    title: str
    detail: str
    step: str | None = None


ALL: tuple[type[Event], ...] = (
    JobQueued,
    JobSubmitting,
    JobSubmitted,
    JobStarted,
    JobProgress,
    JobRetrying,
    JobGenerated,
    JobCompleted,
    JobFailed,
    JobCancelled,
    RunCreated,
    RunProgress,
    RunPaused,
    RunResumed,
    RunCompleted,
    RunFailed,
    RunCancelled,
    Notice,
)
