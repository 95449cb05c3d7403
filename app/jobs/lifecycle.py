"""The states of a job and of a run, and the events their moves leave behind. This table is the only place that knows
them; the CHECKs, the diagrams in `app/README.md` and the legal moves in problems come off it."""

from __future__ import annotations

from enum import StrEnum

from app.core.lifecycle import Edge, Lifecycle


class JobStatus(StrEnum):
    """Where a job stands on the line."""

    QUEUED = "queued"
    """Accepted, credits held, not yet sent to fal."""
    SUBMITTING = "submitting"
    """The intention is written down; fal may or may not have it."""
    SUBMITTED = "submitted"
    """fal has it, its request id is known."""
    RUNNING = "running"
    """fal says that it is being worked on."""
    STORING = "storing"
    """fal has finished; the pictures are on their way into our storage."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    """Every slot has ended; the counts say how."""
    FAILED = "failed"
    """Only under all_or_nothing: one job failed, so none counts."""
    CANCELLED = "cancelled"


_J = JobStatus
_AT_FAL = frozenset({_J.SUBMITTING, _J.SUBMITTED, _J.RUNNING})
_UNFINISHED = _AT_FAL | {_J.QUEUED, _J.STORING}

JOB = Lifecycle(
    "job",
    JobStatus,
    born=(_J.QUEUED, "job.queued"),
    edges=(
        Edge(frozenset({_J.QUEUED}), _J.SUBMITTING, "job.submitting"),
        Edge(frozenset({_J.SUBMITTING}), _J.SUBMITTED, "job.submitted"),
        Edge(frozenset({_J.SUBMITTED}), _J.RUNNING, "job.started"),
        Edge(_AT_FAL, _J.QUEUED, "job.retrying"),
        # Also from queued: a result that comes while the job waits to be sent again saves buying it twice.
        Edge(_AT_FAL | {_J.QUEUED}, _J.STORING, "job.generated"),
        Edge(frozenset({_J.STORING}), _J.COMPLETED, "job.completed"),
        Edge(_UNFINISHED, _J.FAILED, "job.failed"),
        Edge(_UNFINISHED, _J.CANCELLED, "job.cancelled"),
    ),
)

_R = RunStatus

RUN = Lifecycle(
    "run",
    RunStatus,
    born=(_R.RUNNING, "run.created"),
    edges=(
        Edge(frozenset({_R.RUNNING}), _R.PAUSED, "run.paused"),
        Edge(frozenset({_R.PAUSED, _R.COMPLETED}), _R.RUNNING, "run.resumed"),
        Edge(frozenset({_R.RUNNING, _R.PAUSED}), _R.COMPLETED, "run.completed"),
        Edge(frozenset({_R.RUNNING, _R.PAUSED}), _R.FAILED, "run.failed"),
        Edge(frozenset({_R.RUNNING, _R.PAUSED}), _R.CANCELLED, "run.cancelled"),
    ),
)

UNFINISHED = tuple(s for s in JobStatus if s not in JOB.final)
ENDINGS = frozenset({"job.completed", "job.failed", "job.cancelled"})
"""After one of these a job's own stream has nothing more to say."""
RUN_ENDINGS = frozenset({"run.completed", "run.failed", "run.cancelled"})
