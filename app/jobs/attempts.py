"""An attempt's record: written down before the POST, given its request id once, ended once. Rows only; no stage of the
line is called from here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, exists, func, insert, update
from sqlalchemy import select as select_columns
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.jobs.model import AttemptRow, AttemptStatus, ExtraRow, JobRow
from app.ports import Ticket
from app.services import Services
from app.store.columns import insert_if_new, table
from app.store.prepared import Prepared
from app.store.write import Tx

_A = table(AttemptRow)
_WRITE_DOWN = Prepared(insert(_A))
_OTHER = _A.alias("other")
_TAKEN = exists().where(_OTHER.c.request_id == bindparam("r"), _OTHER.c.id != bindparam("the_id"))
_ADOPT = Prepared(
    update(_A)
    .where(_A.c.id == bindparam("the_id"), (_A.c.request_id.is_(None)) | (_A.c.request_id == bindparam("r")), ~_TAKEN)
    .values(
        request_id=bindparam("r"),
        status_url=bindparam("s"),
        response_url=bindparam("a"),
        cancel_url=bindparam("c"),
        accepted_at=func.coalesce(_A.c.accepted_at, bindparam("at")),
    )
)
_NOW_ACCEPTED = Prepared(
    update(_A).where(_A.c.id == bindparam("the_id"), _A.c.status == "sending").values(status="accepted")
)
_OWN = select_columns(_A.c.request_id).where(_A.c.id == bindparam("the_id"))
_NOTE_EXTRA = insert_if_new(ExtraRow)
_COUNT_EXTRA = update(_A).where(_A.c.id == bindparam("the_id")).values(extra=_A.c.extra + 1)
_END = Prepared(
    update(_A)
    .where(_A.c.id == bindparam("the_id"), _A.c.status.in_(("sending", "accepted", "abandoned")))
    .values(
        status=bindparam("to"),
        outcome=bindparam("o"),
        detail=bindparam("d"),
        billable_units=bindparam("u"),
        cost_micro_usd=bindparam("usd"),
        ended_at=bindparam("at"),
    )
)
_STARTED = (
    update(_A).where(_A.c.id == bindparam("the_id"), _A.c.started_at.is_(None)).values(started_at=bindparam("at"))
)
_LOOKED = update(_A).where(_A.c.id == bindparam("the_id")).values(looks=_A.c.looks + 1)

BOUGHT = (AttemptStatus.ACCEPTED, AttemptStatus.ENDED, AttemptStatus.ABANDONED)
"""Attempts that may have bought a picture: what `max_attempts` bounds."""


def write_down(tx: Tx, attempt: AttemptRow) -> None:
    """The intention, with its exact arguments, before anything is sent."""
    tx.execute(_WRITE_DOWN, attempt.model_dump())


class Adoption(StrEnum):
    """OURS: the attempt's own execution. EXTRA: one beyond it, heard of for the first time. NOT_OURS: such a one again,
    or one that was taken for another attempt's with equal arguments."""

    OURS = "ours"
    EXTRA = "extra"
    NOT_OURS = "not_ours"


def adopt(tx: Tx, attempt: str, ticket: Ticket) -> Adoption:
    """Give the attempt its request id, once. Any other execution of it is noted and counted, once each."""
    values = {
        "the_id": attempt,
        "r": ticket.request_id,
        "s": ticket.status_url,
        "a": ticket.response_url,
        "c": ticket.cancel_url,
        "at": tx.now,
    }
    if tx.execute(_ADOPT, values).rowcount == 1:
        tx.execute(_NOW_ACCEPTED, {"the_id": attempt})
        return Adoption.OURS
    if request_of(tx, attempt) is None:
        return Adoption.NOT_OURS
    extra = {"attempt": attempt, "request_id": ticket.request_id}
    if tx.execute(_NOTE_EXTRA[tx.dialect], extra).rowcount != 1:
        return Adoption.NOT_OURS
    tx.execute(_COUNT_EXTRA, {"the_id": attempt})
    return Adoption.EXTRA


def count_extra(services: Services, adoption: Adoption | None) -> None:
    """For the metrics, after the commit."""
    if adoption is Adoption.EXTRA:
        services.metrics.count("provider_extra_total")


def request_of(tx: Tx, attempt: str) -> str | None:
    """The attempt's request id as it is known by now."""
    request_id: str | None = tx.execute(_OWN, {"the_id": attempt}).scalar_one()
    return request_id


def started(tx: Tx, attempt: str) -> None:
    tx.execute(_STARTED, {"the_id": attempt, "at": tx.now})


def looked(tx: Tx, attempt: str) -> None:
    tx.execute(_LOOKED, {"the_id": attempt})


def end(
    tx: Tx,
    attempt: str,
    outcome: str,
    detail: str = "",
    *,
    to: AttemptStatus = AttemptStatus.ENDED,
    units: float | None = None,
    micro_usd: int | None = None,
) -> bool:
    """Its outcome is known; false when it was known before."""
    values = {"to": str(to), "o": outcome, "d": detail, "u": units, "usd": micro_usd, "at": tx.now}
    return tx.execute(_END, {"the_id": attempt, **values}).rowcount == 1


def execution_of(attempt: str, request_id: str | None) -> str:
    """What fal did for an attempt, by the name under which its cost is booked. Without a request id it did nothing."""
    return f"{attempt}/{request_id or attempt}"


def ticket_of(services: Services, attempt: AttemptRow, request_id: str | None = None) -> Ticket:
    """Where the attempt lives at fal: the addresses it gave us, or those that follow from the request id."""
    known = attempt.request_id or request_id
    if known is None:
        raise LookupError(f"{attempt.id} has no request id")
    if attempt.status_url and attempt.response_url and attempt.cancel_url and attempt.request_id == known:
        return Ticket(attempt.endpoint, known, attempt.status_url, attempt.response_url, attempt.cancel_url)
    return services.provider.ticket(attempt.endpoint, known)


async def read(services: Services, job: str, attempt: str) -> tuple[JobRow | None, AttemptRow | None]:
    """Both, or neither."""
    both = select(JobRow, AttemptRow).where(JobRow.id == job, AttemptRow.job == JobRow.id, AttemptRow.id == attempt)
    async with services.db.read() as session:
        return (await session.exec(both)).one_or_none() or (None, None)


async def of_job(session: AsyncSession, job: str) -> Sequence[AttemptRow]:
    """The job's attempts, oldest first."""
    return (await session.exec(select(AttemptRow).where(AttemptRow.job == job).order_by(col(AttemptRow.number)))).all()


async def at_fal(session: AsyncSession, jobs: Sequence[str]) -> Sequence[AttemptRow]:
    """The attempts of these jobs that fal has taken and not ended yet."""
    taken = AttemptRow.status == AttemptStatus.ACCEPTED
    return (await session.exec(select(AttemptRow).where(col(AttemptRow.job).in_(jobs), taken))).all()


async def grace(session: AsyncSession, services: Services, endpoint: str) -> timedelta:
    """How long a request of unknown fate is given before another one may be bought: the start timeout and twice the
    longest run seen for the model lately, at least `grace_least` (`promises.md` D6)."""
    rules = services.rules
    lately = (
        select(AttemptRow.accepted_at, AttemptRow.ended_at)
        .where(
            AttemptRow.endpoint == endpoint,
            col(AttemptRow.ended_at).is_not(None),
            col(AttemptRow.accepted_at).is_not(None),
        )
        .order_by(col(AttemptRow.ended_at).desc())
        .limit(200)
    )
    runs = (await session.exec(lately)).all()
    longest = max((_span(a, b) for a, b in runs), default=0.0)
    scale = services.clock.after(1.0) - services.clock.now()
    return max(scale * rules.grace_least, scale * rules.start_timeout + timedelta(seconds=2 * longest))


def _span(begun: datetime | None, ended: datetime | None) -> float:
    return (ended - begun).total_seconds() if begun and ended else 0.0


ANY_ADDRESS = "\0"
"""Stands in our arguments where every address will do. No caller's text holds a NUL."""


def same_arguments(ours: dict[str, Any], theirs: Any) -> bool:
    """Whether fal's record of an input is the JSON we sent: 3 and 3.0 are the same, and so is a large seed that some
    tool on the way has rounded. The order of keys means nothing."""
    return _same(ours, theirs)


def _same(ours: Any, theirs: Any) -> bool:
    if ours == ANY_ADDRESS:
        return isinstance(theirs, str)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(value, theirs[name]) for name, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if isinstance(ours, int) and isinstance(theirs, float) and not isinstance(ours, bool):
        return float(ours) == theirs
    return bool(ours == theirs)
