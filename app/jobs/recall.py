"""Off the line: telling fal to stop what nobody waits for any more. fal may finish it all the same; then its result is
kept as a late delivery and its cost is booked."""

from __future__ import annotations

from app.jobs import attempts
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, AttemptStatus
from app.services import Services
from app.store.tasks import NewTask, Task

RECALL = "jobs.recall"
_TRIES = 5
_WAITING_FOR_FAL = (JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.RUNNING)


def recall_task(attempt: AttemptRow) -> NewTask:
    return NewTask(RECALL, f"{RECALL}:{attempt.id}", attempt.workspace, {"job": attempt.job, "attempt": attempt.id})


async def recall(services: Services, task: Task) -> None:
    """Ask fal to cancel the attempt, if its job needs it no longer."""
    job, attempt = await attempts.read(services, task.payload["job"], task.payload["attempt"])
    if job is None or attempt is None or attempt.status is not AttemptStatus.ACCEPTED:
        return
    if job.attempt == attempt.number and job.status in _WAITING_FOR_FAL:
        return
    said = await services.provider.cancel(attempts.ticket_of(services, attempt))
    if said == "unclear" and task.tries < _TRIES:
        later = services.clock.after(2.0 ** (task.tries + 1))
        await services.db.write(lambda tx: tx.again(task, later, tries=task.tries + 1))
