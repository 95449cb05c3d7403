"""Stage 2 of the line: a queued job is sent to fal, with ONE paid POST per attempt.

The intention is written down first, with the exact arguments, so that a crash at any point leaves a state that can be
looked into. What became of the POST is one of five values; only "never sent" and "turned away at the gate" put the job
back. "Sent, no answer" stays `submitting`: the webhook or the reconciler finds out (`promises.md` D4).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update

from app.assets.addresses import reference_url
from app.assets.model import AssetRow
from app.catalog.failures import Code
from app.catalog.reading import read_input
from app.core.errors import InvalidRequest, NotFound, Unavailable
from app.core.ids import derived, is_id
from app.core.retries import RetryPolicy
from app.jobs import attempts, breaker, restored
from app.jobs.accept import topic_of
from app.jobs.attempts import Adoption
from app.jobs.deliveries import keep_answer
from app.jobs.endings import count_ended, fail
from app.jobs.events import JobRetrying, JobSubmitted, JobSubmitting, Notice
from app.jobs.lifecycle import JOB, JobStatus, RunStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow, RunRow
from app.jobs.recall import recall_task
from app.jobs.reconcile import first_look
from app.jobs.webhook import PATH
from app.ports import Accepted, NotAccepted, Rejected, Submission, Unanswered, Unsent
from app.services import Services
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.tasks import LeaseLost, Task
from app.store.write import Tx

_TURNED_AWAY = (
    update(table(JobRow))
    .where(table(JobRow).c.id == bindparam("the_id"))
    .values(turned_away=table(JobRow).c.turned_away + 1)
)
_UNANSWERED = Notice(
    level="info",
    code="answer-lost",
    title="fal has not answered yet",
    detail="Whether it took the request is being found out, so that nothing is bought twice; the job goes on.",
    step="submitting",
)
_J = table(JobRow)
_NOTE = update(_J).where(_J.c.id == bindparam("the_id"), _J.c.status == "queued").values(note=bindparam("n"))
_RUN_STATUS = select(table(RunRow).c.status).where(table(RunRow).c.id == bindparam("the_run"))


@dataclass(frozen=True)
class _Sending:
    """One submission under way; `perhaps_sent` before the database was restored."""

    services: Services
    task: Task
    job: JobRow
    attempt: AttemptRow
    perhaps_sent: bool


async def dispatch(services: Services, task: Task) -> None:
    """Send the job, unless it has moved on, its run does not run, or fal turns our key away."""
    async with services.db.read() as session:
        job = await session.get(JobRow, task.payload["job"])
        earlier = await attempts.of_job(session, task.payload["job"])
        perhaps_sent = job is not None and await restored.perhaps_sent(session, job, earlier)
    if job is None or job.status is not JobStatus.QUEUED or services.clock.now() >= job.deadline_at:
        return None
    if until := breaker.sends_again(services):
        return await services.db.write(lambda tx: _hold_back(tx, services, task, job, until))
    try:
        attempt = await _attempt(services, job)
    except (NotFound, InvalidRequest) as problem:
        return await _give_up(services, job, problem.detail)
    sending = _Sending(services, task, job, attempt, perhaps_sent)
    if not await services.db.write(lambda tx: _intend(tx, sending)):
        return None
    _require_awake(services, attempt)
    submission = await _post(sending)
    pauses = breaker.learn(services, submission)
    try:
        adoption = await services.db.write(lambda tx: _settle(tx, sending, submission, _turned_away(earlier)))
    except LeaseLost:
        # Our lease ran out while fal was slow. What fal told us is evidence all the same.
        attempts.count_extra(services, await services.db.write(lambda tx: _evidence(tx, sending, submission)))
        raise
    attempts.count_extra(services, adoption)
    if sending.perhaps_sent:
        return None  # nothing was sent now: it says nothing of fal
    await breaker.tell(services, submission, pauses=pauses)
    return services.metrics.count("attempts_total", fate=type(submission).__name__.lower())


async def _give_up(services: Services, job: JobRow, detail: str) -> None:
    await services.db.write(lambda tx: fail(tx, job, Code.REFERENCE_UNREADABLE, detail))
    count_ended(services, job, JobStatus.FAILED, Code.REFERENCE_UNREADABLE)


def _hold_back(tx: Tx, services: Services, task: Task, job: JobRow, until: datetime) -> None:
    """Sending pauses: the job says why and until when, and whoever follows it is told once."""
    why = breaker.waits(services.standing.rejected_with)
    noted = tx.execute(_NOTE, {"the_id": job.id, "n": f"{why}; next try at {until:%H:%M:%S} UTC."}).rowcount
    if noted and not (job.note or "").startswith(why):
        tx.record(breaker.told_waiting(services), topic_of(job))
    tx.again(task, until, tries=task.tries)


async def _attempt(services: Services, job: JobRow) -> AttemptRow:
    """The next attempt, its reference pictures placed where fal can read them. Its id and its seed follow from the job
    and the number: made again after a restore, it is the one that fal may know already."""
    model = services.catalog.get(job.model)
    asked = read_input(model, job.input, len(job.reference_images))
    id_ = derived("att", job.id, job.attempt + 1)
    seed = model.chosen_seed(asked, random.Random(id_))  # noqa: S311  # tells requests apart, guards nothing
    urls = [await _placed(services, job, reference) for reference in job.reference_images]
    return AttemptRow(
        id=id_,
        workspace=job.workspace,
        job=job.id,
        number=job.attempt + 1,
        endpoint=model.id,
        arguments=model.arguments(asked, urls, seed),
        seed=seed,
        status=AttemptStatus.SENDING,
        created_at=services.clock.now(),
    )


async def _placed(services: Services, job: JobRow, reference: str) -> str:
    """An address fal can read: the caller's own, or one of ours that works past the deadline."""
    if not is_id("asset", reference):
        return reference
    async with services.db.read() as session:
        row = await session.get_one(AssetRow, reference)
    lasts = timedelta(seconds=services.rules.reference_lifetime)
    return await reference_url(services, row, needed_for=job.deadline_at - services.clock.now() + lasts)


def _intend(tx: Tx, sending: _Sending) -> bool:
    """Write down what is about to be sent. False when the job's run does not run: resuming stores a new task, and what
    is left of a run that is over is about to be cancelled."""
    job, attempt = sending.job, sending.attempt
    if job.run is not None and _stands_still(tx, job.run):
        tx.finish(sending.task)  # in this very write: resuming, which comes after it, stores a new one
        return False
    look = first_look(sending.services, attempt)
    advance(
        tx,
        JOB,
        JobRow,
        job.id,
        JobStatus.SUBMITTING,
        JobSubmitting(attempt=attempt.number),
        topic_of(job),
        values={"attempt": attempt.number, "note": None},
        only={"attempt": job.attempt},
        then=(look,),
    )
    attempts.write_down(tx, attempt)
    return True


def _stands_still(tx: Tx, run: str) -> bool:
    """A run that seems to is asked again under its row's lock: a resume that is under way is over when this is
    answered, or comes after us."""
    asked = (_RUN_STATUS, _RUN_STATUS.with_for_update())
    return all(tx.execute(query, {"the_run": run}).scalar_one() != RunStatus.RUNNING for query in asked)


def _require_awake(services: Services, attempt: AttemptRow) -> None:
    """Nothing is sent long after the intention was written down: whoever took over may be about to send it anew, if
    this process stood still meanwhile. What becomes of the job is found out as when an answer is lost."""
    allowed = services.clock.after(services.rules.grace_least / 2) - services.clock.now()
    if services.clock.now() - attempt.created_at > allowed:
        raise Unavailable("This process stood still between deciding to send a job and sending it; it was not sent.")


async def _post(sending: _Sending) -> Submission:
    services, attempt = sending.services, sending.attempt
    if sending.perhaps_sent:
        return Unanswered("It may have been sent before the database was restored.")
    webhook = None
    if services.webhook_base:
        webhook = f"{services.webhook_base}{PATH}/{attempt.id}/{services.tags.sign(attempt.id)}"
    return await services.provider.submit(
        attempt.endpoint,
        attempt.arguments,
        webhook_url=webhook,
        low_priority=sending.job.priority == "low",
        start_timeout=services.rules.start_timeout,
    )


def _settle(tx: Tx, sending: _Sending, submission: Submission, turned_away: int) -> Adoption | None:
    match submission:
        case Accepted() | Unanswered():
            adoption = _evidence(tx, sending, submission)
            tx.finish(sending.task)
            return adoption
        case Rejected():
            keep_answer(tx, sending.attempt, submission)
            tx.finish(sending.task)
        case NotAccepted() | Unsent():
            _put_back(tx, sending, submission, turned_away + 1)
    return None


def _evidence(tx: Tx, sending: _Sending, submission: Submission) -> Adoption | None:
    """Note the request id, whoever holds the task by now. When the job has moved on without it, fal is told to stop."""
    job, attempt = sending.job, sending.attempt
    if isinstance(submission, Unanswered):
        tx.record(_UNANSWERED, topic_of(job))
    if not isinstance(submission, Accepted):
        return None
    adoption = attempts.adopt(tx, attempt.id, submission.ticket)
    submitted = JobSubmitted(attempt=attempt.number)
    try:
        advance(
            tx, JOB, JobRow, job.id, JobStatus.SUBMITTED, submitted, topic_of(job), only={"attempt": attempt.number}
        )
    except Moved:
        tx.spawn(recall_task(attempt))  # a webhook was quicker, or somebody cancelled; recall finds out which
    return adoption


def _put_back(tx: Tx, sending: _Sending, submission: NotAccepted | Unsent, times: int) -> None:
    """Nothing was bought and nobody's job is at fault: wait, without counting it towards `max_attempts`."""
    job, attempt, services = sending.job, sending.attempt, sending.services
    code = f"not-accepted-{submission.status}" if isinstance(submission, NotAccepted) else "unsent"
    attempts.end(tx, attempt.id, code, submission.detail, to=AttemptStatus.NOT_ACCEPTED)
    next_at = _when(services, submission, times)
    retrying = JobRetrying(attempt=attempt.number, code=code, detail=submission.detail, next_at=next_at)
    waits = {"note": _waiting(submission, next_at), "turned_away": job.turned_away + 1}
    only = {"attempt": attempt.number}
    try:
        advance(tx, JOB, JobRow, job.id, JobStatus.QUEUED, retrying, topic_of(job), values=waits, only=only)
    except Moved:
        tx.execute(_TURNED_AWAY, {"the_id": job.id})
        return tx.finish(sending.task)
    tx.drop(first_look(services, attempt).key)
    return tx.again(sending.task, next_at, error=submission.detail)


def _waiting(submission: NotAccepted | Unsent, next_at: datetime) -> str:
    why = breaker.waits(submission.status) if isinstance(submission, NotAccepted) else "Waiting: no connection to fal"
    return f"{why}; next try at {next_at:%H:%M:%S} UTC."


def _when(services: Services, submission: NotAccepted | Unsent, times: int) -> datetime:
    policy = RetryPolicy(ceiling=services.rules.submit_backoff_latest)
    wait = policy.wait(times, services.random.random())
    asked = submission.retry_after if isinstance(submission, NotAccepted) else None
    return max(services.clock.after(max(wait, asked or 0.0)), breaker.sends_again(services) or services.clock.now())


def _turned_away(earlier: Sequence[AttemptRow]) -> int:
    """How many attempts in a row, up to now, never got in."""
    lately = enumerate(reversed(earlier))
    return next((i for i, each in lately if each.status is not AttemptStatus.NOT_ACCEPTED), len(earlier))
