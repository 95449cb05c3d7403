"""What the webhook door turned away, for a person to look at: of each verdict the first few in a minute, cut short, in
a table that stays small. A flood is counted in full, but it neither writes much nor hides what came beside it. What was
paid for and is not known here stays, each once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import select

from app.core.errors import Problem
from app.core.paging import Page, page_of
from app.core.principal import Principal, Scope
from app.services import Services
from app.store import inbox
from app.store.columns import table
from app.store.inbox import RefusalRow
from app.store.pages import newest_first, position
from app.store.write import Tx
from app.web.operation import Operation

_MINUTE = 60.0
_PLACE = "refusals"


class RefusalsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = None


class RefusalView(BaseModel):
    """A call at the webhook door that was turned away: the verdict, what was wrong in words, and the attempt that the
    address named, as it stood there: anybody may have written it."""

    id: str
    object: Literal["refusal"] = "refusal"
    verdict: str
    detail: str
    attempt: str
    received_at: datetime


async def keep_refusal(services: Services, attempt: str, verdict: str, detail: str) -> None:
    """Never a reason to answer otherwise."""
    if not _is_worth_keeping(services, verdict):
        return
    refusal = {
        "id": services.ids.new("ref"),
        "reason": verdict,
        "attempt": ascii(attempt)[1:-1][:64],  # anybody may have written it
        "detail": detail[:300],
        "received_at": services.clock.now(),
    }

    def refuse(tx: Tx) -> None:
        inbox.refuse(tx, refusal)
        inbox.trim_refusals(tx, services.rules.refusals_kept)

    try:
        await services.db.write(refuse)
    except Problem:
        services.metrics.count("webhooks_total", verdict="not-recorded")


async def keep_unknown(services: Services, attempt: str, request_id: str) -> None:
    """It is genuine and was paid for: no limit holds for it, but said again it is still one."""
    detail = f"fal has finished request {request_id} for it."
    try:
        await services.db.write(lambda tx: inbox.note_unknown(tx, attempt, request_id, detail))
    except Problem:
        services.metrics.count("webhooks_total", verdict="not-recorded")


def _is_worth_keeping(services: Services, verdict: str) -> bool:
    standing, now = services.standing, services.clock.monotonic()
    if now - standing.refusals_since >= _MINUTE:
        standing.refusals_since = now
        standing.refusals.clear()
    standing.refusals[verdict] += 1
    return standing.refusals[verdict] <= services.rules.refusals_a_minute


async def list_refused(services: Services, principal: Principal, query: RefusalsQuery) -> Page[RefusalView]:
    """What came as a delivery from fal and was refused, newest first

    For the operator. A few hundred are kept, of each verdict the first few in a minute; the metric counts all.
    Those of the verdict `unknown`, purchases that a restore has lost, all stay.
    """
    principal.require(Scope.OPERATOR)
    return await refused(services, query.limit, query.cursor)


async def refused(services: Services, limit: int, cursor: str | None = None) -> Page[RefusalView]:
    """The same for the command line."""
    after = services.cursors.read(_PLACE, cursor) if cursor else None
    wanted = newest_first(select(RefusalRow), table(RefusalRow), limit, after, moment="received_at")
    async with services.db.read() as session:
        rows = (await session.exec(wanted)).all()  # type: ignore[call-overload]
    views = [
        RefusalView(id=row.id, verdict=row.reason, detail=row.detail, attempt=row.attempt, received_at=row.received_at)
        for row in rows
    ]
    return page_of(views, limit, lambda v: services.cursors.write(_PLACE, position(v.received_at, v.id)))


OPERATIONS = (Operation("GET", "/deliveries/refused", list_refused, scope=Scope.OPERATOR),)
