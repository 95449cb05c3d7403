"""How long a model usually takes: what this installation has seen of it lately, once it has seen enough; before that,
what the catalogue says."""

from __future__ import annotations

from datetime import timedelta
from statistics import median

from sqlalchemy import func
from sqlmodel import col, select

from app.jobs.model import AttemptRow
from app.services import Services

_LATELY = 50
_ENOUGH = 5
_KNOWN_FOR = 60.0


async def usual_run(services: Services, endpoint: str) -> timedelta:
    """From the start at fal to the end. Looked up at most once a minute."""
    standing, now = services.standing, services.clock.monotonic()
    until, seen = standing.paces.get(endpoint, (now, None))
    if now >= until:
        seen = await _seen(services, endpoint)
        standing.paces[endpoint] = now + _KNOWN_FOR, seen
    if seen is not None:
        return timedelta(seconds=seen)
    return services.clock.after(services.catalog.get(endpoint).pace.p50) - services.clock.now()


async def _seen(services: Services, endpoint: str) -> float | None:
    """The median of the newest good runs, in seconds; None while there are too few of them."""
    good = (AttemptRow.endpoint == endpoint, AttemptRow.outcome == "completed", col(AttemptRow.ended_at).is_not(None))
    begun = func.coalesce(AttemptRow.started_at, AttemptRow.accepted_at)
    newest = select(begun, AttemptRow.ended_at).where(*good).order_by(col(AttemptRow.ended_at).desc()).limit(_LATELY)
    async with services.db.read() as session:
        rows = (await session.exec(newest)).all()
    runs = [(ended - begun).total_seconds() for begun, ended in rows if begun and ended]
    return median(runs) if len(runs) >= _ENOUGH else None
