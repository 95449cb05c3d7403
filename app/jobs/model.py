"""The rows of the line: a job, its attempts at fal, and the runs that gather jobs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Column, Field

from app.jobs.lifecycle import JOB, RUN, JobStatus, RunStatus
from app.store.columns import Row, json_column, state_column, states_check, text_column


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Policy(StrEnum):
    """How a run is paid. PER_ITEM: each job holds and settles by itself. ALL_OR_NOTHING: the run holds for all, and is
    paid only when every job completed."""

    PER_ITEM = "per_item"
    ALL_OR_NOTHING = "all_or_nothing"


class Job(Row):
    """`input` and `reference_images` are as the caller sent them; `seed` is text, as seeds can exceed 64 bits;
    `outputs` are fal's addresses while they are being mirrored; `price` is the catalogue's price as it was on
    acceptance. A new job is one of these: the ORM's care for a row costs as much as all the rest of accepting it."""

    id: str = Field(primary_key=True)
    workspace: str
    status: JobStatus = Field(sa_column=state_column(JobStatus))
    model: str
    input: dict[str, Any] = Field(sa_column=json_column())
    reference_images: list[str] = Field(sa_column=json_column())
    meta: dict[str, str] = Field(sa_column=json_column())
    priority: Priority = Field(sa_column=state_column(Priority))
    not_before: datetime | None = None
    max_attempts: int
    deadline_at: datetime
    run: str | None = None
    slot: int | None = None
    workflow: str | None = None
    retry_of: str | None = None
    attempt: int = 0
    """The number of the newest attempt."""
    turned_away: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How many of them fal never took."""
    seed: str | None = None
    price: dict[str, int] = Field(sa_column=json_column())
    hold: str | None = None
    credits_held: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    credits_posted: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    outputs: list[dict[str, Any]] | None = Field(default=None, sa_column=json_column(nullable=True))
    note: str | None = Field(default=None, sa_column=text_column(nullable=True))
    waiting: dict[str, str] | None = Field(default=None, sa_column=json_column(nullable=True))
    """What it waits for while it is stored, and since when (`waiting.py`)."""
    progress: dict[str, Any] | None = Field(default=None, sa_column=json_column(nullable=True))
    error: dict[str, Any] | None = Field(default=None, sa_column=json_column(nullable=True))
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None


class JobRow(Job, table=True):
    """A job as it stands in the database."""

    __tablename__ = "jobs"
    __table_args__ = (
        states_check(JOB),
        CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))", name="finished"
        ),
        Index(None, "workspace", "created_at", "id"),
        Index(None, "run", "slot"),
        Index(
            "ix_jobs_unfinished",
            "deadline_at",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
    )


class ReferenceRow(Row, table=True):
    """This job draws from this asset: it must not be deleted before the job has ended."""

    __tablename__ = "job_references"

    asset: str = Field(primary_key=True)
    job: str = Field(primary_key=True)


class AttemptStatus(StrEnum):
    """SENDING: written down before the POST; its fate is open. ACCEPTED: fal has it. NOT_ACCEPTED: turned away before
    fal's queue, or never sent. ENDED: its outcome is known. ABANDONED: no trace of it was found in the grace time."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    ENDED = "ended"
    ABANDONED = "abandoned"


class AttemptRow(Row, table=True):
    """One submission to fal. `arguments` is the exact JSON sent: what fal's request list is compared with."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job", "number"),
        Index("uq_attempts_request_id", "request_id", unique=True),
        Index(None, "endpoint", "ended_at"),
    )

    id: str = Field(primary_key=True)
    workspace: str
    job: str
    number: int
    endpoint: str
    arguments: dict[str, Any] = Field(sa_column=json_column())
    seed: str | None = None
    status: AttemptStatus = Field(sa_column=state_column(AttemptStatus))
    request_id: str | None = None
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None
    looks: int = 0
    """How often the reconciler has looked."""
    extra: int = 0
    """Executions at fal beyond this one, recognised by our tag with another request id."""
    outcome: str | None = None
    detail: str | None = Field(default=None, sa_column=text_column(nullable=True))
    billable_units: float | None = None
    cost_micro_usd: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: datetime
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ExtraRow(Row, table=True):
    """An execution at fal beyond the attempt's own, however often and in whatever way we hear of it."""

    __tablename__ = "extras"

    attempt: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)


class RunRow(Row, table=True):
    """The counts are of slots that have ended; together they reach `total` when the run is complete."""

    __tablename__ = "runs"
    __table_args__ = (states_check(RUN), Index(None, "workspace", "created_at", "id"))

    id: str = Field(primary_key=True)
    workspace: str
    name: str
    workflow: str | None = None
    policy: Policy = Field(sa_column=state_column(Policy))
    ceiling: int | None = Field(default=None, sa_column=Column(BigInteger))
    status: RunStatus = Field(sa_column=state_column(RunStatus))
    total: int
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    hold: str | None = None
    credits_held: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    meta: dict[str, str] = Field(sa_column=json_column())
    paused_at: datetime | None = None
    """When it was last paused."""
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None


class SlotRow(Row, table=True):
    """A place in a run, filled by one job at a time: a retry takes the place of the job it repeats."""

    __tablename__ = "slots"

    run: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    job: str = Field(unique=True)


class WatchRow(Row, table=True):
    """Somebody looks at this job, run or workspace: progress is worth fetching until then."""

    __tablename__ = "watches"

    topic: str = Field(primary_key=True)
    until: datetime


class PinRow(Row, table=True):
    """The user id that fal signs our webhooks with, learned from the first tagged delivery, for each origin and key."""

    __tablename__ = "pins"

    origin: str = Field(primary_key=True)
    user: str
