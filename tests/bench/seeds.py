"""Rows that a measurement begins with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import create_engine, insert
from sqlmodel import SQLModel

from app.core.ids import derived
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, Priority
from tests.bench import letters


def submitted(workspace: str, count: int) -> tuple[list[JobRow], list[AttemptRow]]:
    """Jobs that fal has, each with its attempt, as dispatch leaves them."""
    now = datetime.now(UTC)
    jobs = [
        JobRow(
            id=derived("job", "bench", number),
            workspace=workspace,
            status=JobStatus.SUBMITTED,
            model=letters.JOB["model"],
            input=letters.JOB["input"],
            reference_images=[],
            meta={},
            priority=Priority.NORMAL,
            max_attempts=3,
            deadline_at=now + timedelta(hours=6),
            attempt=1,
            price={"credits": 1, "micro_usd": 3000, "outputs": 1},
            created_at=now,
            updated_at=now,
        )
        for number in range(count)
    ]
    attempts = [
        AttemptRow(
            id=derived("att", job.id),
            workspace=workspace,
            job=job.id,
            number=1,
            endpoint=job.model,
            arguments=job.input,
            status=AttemptStatus.ACCEPTED,
            request_id=derived("req", job.id),
            created_at=now,
            accepted_at=now,
        )
        for job in jobs
    ]
    return jobs, attempts


def fill(database: str, kind: type[SQLModel], rows: Sequence[SQLModel]) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(insert(kind.__table__), [row.model_dump() for row in rows])  # type: ignore[attr-defined]
    engine.dispose()
