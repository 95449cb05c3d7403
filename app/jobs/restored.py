"""After a restore the database is older than what happened. Whatever a job of before it would send next may have been
sent since: it is treated as sent without an answer, so that the reconciler looks for it in fal's list, and the webhook
that fal still repeats finds its attempt; only when there is no trace of it is it bought again. What fal lists and no
attempt claims was bought for jobs that are lost: it is written down, and `verify` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.ids import is_id
from app.jobs import attempts
from app.jobs.lifecycle import JobStatus
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.ports import ListedRequest
from app.services import Services
from app.store.columns import table
from app.store.inbox import note_unknown
from app.store.settled import settle_anew, settled_at
from app.store.write import Tx

_RESTORED = "restored"

_J, _A = table(JobRow), table(AttemptRow)
_WAITING = select(func.count()).where(
    _J.c.status == JobStatus.QUEUED, or_(_J.c.not_before.is_(None), _J.c.not_before <= bindparam("now"))
)
_KNOWN = select(_A.c.request_id).where(_A.c.request_id.is_not(None))


def note_restore(tx: Tx, backup: datetime) -> int:
    """From now on what was made before this moment may have been sent in the time that is lost; how many jobs wait.
    Said again of the same backup, it changes nothing."""
    settle_anew(tx, _RESTORED, backup.astimezone(UTC).isoformat())
    waiting: int = tx.execute(_WAITING, {"now": tx.now}).scalar_one()
    return waiting


async def is_from_before(session: AsyncSession, job: JobRow) -> bool:
    """Whether the job was there, and could be sent, before this database was restored."""
    restored = await settled_at(session, _RESTORED)
    return restored is not None and max(job.created_at, job.not_before or job.created_at) <= restored


async def perhaps_sent(session: AsyncSession, job: JobRow, earlier: Sequence[AttemptRow]) -> bool:
    """Whether the job's next attempt may have been sent in the time that is lost. Where one that was made since left
    no trace, the lost time did not come that far."""
    restored = await settled_at(session, _RESTORED)
    if restored is None or not await is_from_before(session, job):
        return False
    return not any(a.status is AttemptStatus.ABANDONED and a.created_at > restored for a in earlier)


def as_listed(services: Services, job: JobRow, attempt: AttemptRow) -> dict[str, Any]:
    """The arguments it may have been sent with before. Our own pictures were at other addresses then, since they are
    placed anew each time; without these only a seed that we chose for this attempt tells it from all others."""
    model = services.catalog.get(attempt.endpoint)
    if not model.takes_seed or job.input.get("seed") is not None:
        return attempt.arguments
    places = [attempts.ANY_ADDRESS if is_id("asset", each) else each for each in job.reference_images]
    return attempt.arguments | model.references.arguments(places)


async def bought_since(services: Services, since: datetime) -> Sequence[ListedRequest] | None:
    """What fal lists of our models; none when our key may not read its list. Raises Unavailable."""
    found: list[ListedRequest] = []
    for model in services.catalog.models:
        listed = await services.provider.listed(model.id, since, services.clock.now())
        if listed is None:
            return None
        found += listed
    return found


def note_purchases(tx: Tx, bought: Sequence[ListedRequest]) -> int:
    """Write down what no attempt claims, under fal's own name for it; how much that is. Some of it may yet be found."""
    known = set(tx.execute(_KNOWN).scalars())
    unclaimed = [request for request in bought if request.request_id not in known]
    for request in unclaimed:
        detail = f"fal lists this request of {request.endpoint}, sent at {request.sent_at:%Y-%m-%d %H:%M:%S} UTC."
        note_unknown(tx, request.request_id, request.request_id, detail)
    return len(unclaimed)
