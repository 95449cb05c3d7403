"""The breaker on dispatch: when fal's gateway turns our key away again and again (401, 403, 429), sending pauses for a
while, the jobs that wait say so, and the operator is told. It is our key or our balance, never the user's job. When
nothing can be sent at all, fal is away."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from app.accounts.model import SYSTEM
from app.core.events import Topic
from app.jobs import outages
from app.jobs.events import Notice
from app.ports import Accepted, NotAccepted, Submission, Unsent
from app.services import Services
from app.store.write import Tx

log = structlog.get_logger("breaker")


def learn(services: Services, submission: Submission) -> bool:
    """From what became of a submission, before anything is said about when the next one is sent. True: sending has
    just begun to pause."""
    standing, rules = services.standing, services.rules
    if isinstance(submission, Accepted):
        standing.rejections, standing.pause_ends = 0, None
        services.metrics.gauge("breaker_open", 0)
    if not isinstance(submission, NotAccepted):
        return False
    standing.rejections += 1
    standing.rejection, standing.rejected_with = submission.detail, submission.status
    if standing.rejections < rules.breaker_opens_after:
        return False
    pause = services.clock.after(rules.breaker_pause) - services.clock.now()
    standing.pause_ends = services.clock.monotonic() + max(pause.total_seconds(), 0.1)
    services.metrics.gauge("breaker_open", 1)
    return standing.rejections == rules.breaker_opens_after


async def tell(services: Services, submission: Submission, *, pauses: bool) -> None:
    """The operator, once, when sending begins to pause or fal cannot be reached."""
    await (outages.unsent(services, submission.detail) if isinstance(submission, Unsent) else outages.sent(services))
    if isinstance(submission, NotAccepted) and pauses:
        log.warning("sending pauses", status=submission.status, detail=submission.detail)
        await services.db.write(lambda tx: _tell(tx, submission))


def sends_again(services: Services) -> datetime | None:
    """When sending goes on, for one job among many; none when it does not pause."""
    pause = services.standing.paused_for(services.clock.monotonic())
    return services.clock.after(services.random.uniform(0, 2)) + timedelta(seconds=pause) if pause else None


def waits(status: int) -> str:
    """Why a job waits: the beginning of its note."""
    return f"Waiting: fal does not accept our requests ({status})"


def told_waiting(services: Services) -> Notice:
    """What a job's followers are told once when it is held back."""
    standing = services.standing
    detail = f"fal answers {standing.rejected_with}: {standing.rejection} It is sent by itself when fal takes requests."
    title = "The job waits for fal"
    return Notice(level="warning", code="waits-for-fal", title=title, detail=detail, step="queued")


def advice(status: int) -> str:
    if status == 429:
        return "fal takes no more at once from this account: they go in as others end. fal can raise that limit."
    return "Check FAL_KEY and the balance at fal."


def _tell(tx: Tx, said: NotAccepted) -> None:
    detail = f"fal answers {said.status}: {said.detail} Jobs wait and are sent again by themselves. "
    notice = Notice(
        level="error",
        code="fal-turns-us-away",
        title="fal does not accept our requests",
        detail=detail + advice(said.status),
    )
    tx.record(notice, Topic(SYSTEM))
