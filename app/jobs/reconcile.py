"""Off the line: looking at fal for ourselves, so that a job ends though its webhook never comes.

Each attempt has one such task, stored with the intention to send it. It looks after the time the model usually takes,
then every 15 to 60 s (every 1 to 10 s in laptop mode, every few seconds while somebody watches). A finished request
enters the inbox like a webhook. One of unknown fate is searched for in fal's own list; only when no trace of it has
appeared within the grace time may the picture be bought again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, select, update

from app.accounts.model import SYSTEM
from app.catalog.failures import Code
from app.core.events import Topic
from app.core.retries import RetryPolicy
from app.jobs import attempts, restored, watching
from app.jobs.accept import dispatch_task, topic_of
from app.jobs.deliveries import keep_listed, keep_look
from app.jobs.endings import count_ended, fail
from app.jobs.events import JobProgress, JobRetrying, JobStarted, JobSubmitted, Notice
from app.jobs.lifecycle import JOB, JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.jobs.pace import usual_run
from app.jobs.recall import recall_task
from app.ports import ListedRequest, Progress
from app.services import Services
from app.store.advance import Moved, advance
from app.store.columns import table
from app.store.tasks import NewTask, Task
from app.store.write import Tx

RECONCILE = "jobs.reconcile"
_WATCHED_SOONEST, _WATCHED_LATEST = 1.5, 5.0

_J, _A = table(JobRow), table(AttemptRow)
_PROGRESS = (
    update(_J)
    .where(_J.c.id == bindparam("the_id"), _J.c.status.in_(("submitted", "running")))
    .values(progress=bindparam("p", type_=_J.c.progress.type))
)
_CLAIMED = select(_A.c.request_id).where(_A.c.request_id.in_(bindparam("ids", expanding=True)))


def first_look(services: Services, attempt: AttemptRow) -> NewTask:
    """The task that goes with every attempt."""
    rules, pace = services.rules, services.catalog.get(attempt.endpoint).pace
    soonest = min(max(pace.p95, 2.0), rules.look_latest) if services.webhook_base else rules.laptop_soonest
    if services.standing.watched(attempt.workspace, services.clock.now()):
        soonest = min(soonest, _WATCHED_SOONEST)
    return _task(attempt.id, attempt.job, attempt.workspace, services.clock.after(soonest))


def look_now(tx: Tx, attempt: str) -> bool:
    """Something suggests that there is news of this attempt. False when it is not known here."""
    row = tx.execute(select(_A.c.job, _A.c.workspace).where(_A.c.id == attempt)).one_or_none()
    if row is not None:
        tx.wake(_task(attempt, row.job, row.workspace, tx.now))
    return row is not None


async def reconcile(services: Services, task: Task) -> None:
    """Look once, and see to what was found."""
    job, attempt = await attempts.read(services, task.payload["job"], task.payload["attempt"])
    if job is None or attempt is None or attempt.status not in (AttemptStatus.SENDING, AttemptStatus.ACCEPTED):
        return None
    if attempt.request_id is None:
        return await _search(services, task, job, attempt)
    ticket = attempts.ticket_of(services, attempt)
    watched = await watching.is_watched(services, job)
    progress = await services.provider.progress(ticket, logs=watched)
    services.metrics.count("reconciled_total", finding=progress.state)
    missing_for_good = progress.state == "missing" and attempt.looks >= services.rules.missing_believed_after
    if progress.state == "done" or missing_for_good:
        return await _take_in(services, task, attempt)
    shown = await _estimate(services, attempt, progress) if watched else None
    next_at = _next_look(services, attempt, watched=watched)
    return await services.db.write(lambda tx: _note(tx, task, job, attempt, progress, shown, next_at))


async def _take_in(services: Services, task: Task, attempt: AttemptRow) -> None:
    """Fal has finished: its answer goes into the inbox, as a webhook's would."""
    answer = await services.provider.result(attempts.ticket_of(services, attempt))
    request_id = str(attempt.request_id)
    if answer.status in (0, 429) or (answer.status == 400 and "progress" in str(answer.body)):
        next_at = _next_look(services, attempt, watched=True)
        return await services.db.write(lambda tx: _look_again(tx, task, attempt, next_at))

    def taken_in(tx: Tx) -> None:
        keep_look(tx, attempt, request_id, answer)
        tx.finish(task)

    await services.db.write(taken_in)
    return await mind_silence(services, attempt)


def _look_again(tx: Tx, task: Task, attempt: AttemptRow, next_at: datetime) -> None:
    attempts.looked(tx, attempt.id)
    tx.again(task, next_at)


def _note(
    tx: Tx,
    task: Task,
    job: JobRow,
    attempt: AttemptRow,
    progress: Progress,
    shown: JobProgress | None,
    next_at: datetime,
) -> None:
    """Fal is still at it: say how far, and come back."""
    if progress.state == "running" and attempt.number == job.attempt:
        attempts.started(tx, attempt.id)
        if job.status is JobStatus.SUBMITTED:
            started = JobStarted(attempt=attempt.number)
            only = {"attempt": attempt.number}
            advance(tx, JOB, JobRow, job.id, JobStatus.RUNNING, started, topic_of(job), only=only)
    if shown is not None:
        kept = shown.model_dump()
        if kept != job.progress and tx.execute(_PROGRESS, {"the_id": job.id, "p": kept}).rowcount:
            tx.record(shown, topic_of(job))
    _look_again(tx, task, attempt, next_at)


async def _estimate(services: Services, attempt: AttemptRow, progress: Progress) -> JobProgress | None:
    """Fal tells a position in its queue and log lines, never a percentage: that comes from the time the model usually
    takes, and says so. A run that is heard of for the first time begins now: time in fal's line is no part of it."""
    if progress.state not in ("queued", "running"):
        return None
    if progress.state == "queued":
        return JobProgress(percent=0, queue_position=progress.position, estimated=True)
    usual = await usual_run(services, attempt.endpoint)
    now = services.clock.now()
    so_far = now - (attempt.started_at or now)
    percent = min(95, int(90 * so_far / usual)) if usual else 0
    eta = max(1, round((usual - so_far).total_seconds()))
    return JobProgress(
        percent=percent, eta_seconds=eta, estimated=True, log=progress.logs[-1][:300] if progress.logs else None
    )


# ----------------------------------------------------------------------------------------------------------------------
# A request of unknown fate


async def _search(services: Services, task: Task, job: JobRow, attempt: AttemptRow) -> None:
    """Look for the request in fal's list by its exact input. Adopting never waits; buying again waits for the grace
    time, and for a list that could be read as far back as it may stand there: else this raises, and is tried again."""
    async with services.db.read() as session:
        of_before = await restored.is_from_before(session, job)
    sent_since, arguments = attempt.created_at, attempt.arguments
    if of_before:  # the attempt was perhaps made for the second time
        sent_since, arguments = job.created_at, restored.as_listed(services, job, attempt)
    # Wide enough for a clock that is an hour wrong: the exact input and "one to one" keep strangers' requests out.
    margin = timedelta(hours=2)
    listed = await services.provider.listed(attempt.endpoint, sent_since - margin, services.clock.now() + margin)
    matches = [r for r in listed or () if attempts.same_arguments(arguments, r.arguments)]
    async with services.db.read() as session:
        grace = await attempts.grace(session, services, attempt.endpoint)
        bought = sum(a.status in attempts.BOUGHT or a.id == attempt.id for a in await attempts.of_job(session, job.id))
    lost = services.clock.now() - attempt.created_at > grace
    next_at = _next_look(services, attempt, watched=False)

    def searched(tx: Tx) -> str:
        if attempts.request_of(tx, attempt.id) is not None:
            _look_again(tx, task, attempt, next_at)  # a webhook was quicker; what is listed may be another's
            return "adopted"
        if (found := _unclaimed(tx, matches)) is not None:
            _adopt(tx, services, job, attempt, found)
            tx.finish(task) if found.ended_at else _look_again(tx, task, attempt, tx.now)
            return "adopted"
        if lost:
            failed = _give_up_on(tx, job, attempt, bought)
            tx.finish(task)
            return "spent" if failed else "abandoned"
        _look_again(tx, task, attempt, next_at)
        return "unlisted" if listed is None else "untraced"

    finding = await services.db.write(searched)
    services.metrics.count("reconciled_total", finding=finding)
    if finding == "spent":
        count_ended(services, job, JobStatus.FAILED, Code.ATTEMPTS_SPENT)


def _unclaimed(tx: Tx, matches: list[ListedRequest]) -> ListedRequest | None:
    """The oldest request in fal's list that belongs to no attempt yet: equal inputs are matched one to one."""
    claimed = set(tx.execute(_CLAIMED, {"ids": [r.request_id for r in matches]}).scalars()) if matches else set()
    return min((r for r in matches if r.request_id not in claimed), key=lambda r: r.sent_at, default=None)


def _adopt(tx: Tx, services: Services, job: JobRow, attempt: AttemptRow, found: ListedRequest) -> None:
    attempts.adopt(tx, attempt.id, services.provider.ticket(attempt.endpoint, found.request_id))
    submitted = JobSubmitted(attempt=attempt.number)
    try:
        advance(
            tx, JOB, JobRow, job.id, JobStatus.SUBMITTED, submitted, topic_of(job), only={"attempt": attempt.number}
        )
    except Moved:
        tx.spawn(recall_task(attempt))  # cancelled meanwhile; whatever it brings all the same is kept as late
    if found.ended_at is not None:
        keep_listed(tx, attempt, found)


def _give_up_on(tx: Tx, job: JobRow, attempt: AttemptRow, bought: int) -> bool:
    """Buy another one if the job still waits for this, unless as many as it may have were perhaps bought already: then
    it has failed, and the answer is true."""
    detail = "fal's answer to the submission was lost, and no trace of it appeared in fal's list within the grace time."
    only = {"attempt": attempt.number}
    waits = job.status is JobStatus.SUBMITTING and job.attempt == attempt.number
    spent = waits and not RetryPolicy(max_attempts=job.max_attempts).allows(bought)
    attempts.end(tx, attempt.id, "untraced", detail, to=AttemptStatus.ABANDONED)
    if spent:
        fail(tx, job, Code.ATTEMPTS_SPENT, detail, only=only)
    elif waits:
        retrying = JobRetrying(attempt=attempt.number, code="untraced", detail=detail, next_at=tx.now)
        again = (dispatch_task(job, tx.now),)
        advance(tx, JOB, JobRow, job.id, JobStatus.QUEUED, retrying, topic_of(job), only=only, then=again)
    return spent


# ----------------------------------------------------------------------------------------------------------------------
# When to look again, and what silence means


def _next_look(services: Services, attempt: AttemptRow, *, watched: bool) -> datetime:
    rules = services.rules
    if watched:
        soonest, latest = _WATCHED_SOONEST, _WATCHED_LATEST
    elif services.webhook_base:
        soonest, latest = rules.look_soonest, rules.look_latest
    else:
        soonest, latest = rules.laptop_soonest, rules.laptop_latest
    wait = min(soonest * 1.5 ** min(attempt.looks, 20), latest)
    return services.clock.after(wait * services.random.uniform(0.9, 1.1))


def hear_webhook(services: Services) -> None:
    """One came: to this process's door, or to another's, and it is taken in here."""
    services.standing.found_by_looking = 0
    services.metrics.gauge("webhooks_silent", 0)


async def mind_silence(services: Services, attempt: AttemptRow) -> None:
    """Webhooks are registered, but completions are found by looking: the operator should know before the night. Those
    of requests from before this process began say nothing: they may have come while nobody was there."""
    standing = services.standing
    if services.webhook_base is None or (standing.up_since and attempt.created_at < standing.up_since):
        return
    standing.found_by_looking += 1
    silent = standing.found_by_looking >= services.rules.silent_after
    services.metrics.gauge("webhooks_silent", 1 if silent else 0)
    if standing.found_by_looking == services.rules.silent_after:
        detail = f"Pictures are found by asking instead: later, but none is lost. {_why_silent(services)}"
        notice = Notice(level="warning", code="webhooks-silent", title="fal's calls do not arrive", detail=detail)
        await services.db.write(lambda tx: tx.record(notice, Topic(SYSTEM)))


def _why_silent(services: Services) -> str:
    if urlsplit(services.base_url).hostname in ("localhost", "127.0.0.1"):
        return "The sandbox was asked to lose them (--chaos), or cannot reach this service."
    return f"Check that {services.webhook_base} (DARKROOM_PUBLIC_URL) can be reached from the internet."


def _task(attempt: str, job: str, workspace: str, due_at: datetime) -> NewTask:
    payload: dict[str, Any] = {"job": job, "attempt": attempt}
    return NewTask(RECONCILE, f"{RECONCILE}:{attempt}", workspace, payload, due_at)
