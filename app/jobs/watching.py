"""Who is looking: progress is fetched from fal only for jobs that somebody watches. Open streams and snapshots say so;
it is forgotten after a minute."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from app.jobs.model import JobRow, WatchRow
from app.services import Services
from app.store.columns import table
from app.store.write import Tx

_W = table(WatchRow)
_UPSERT = {
    "sqlite": sqlite.insert(_W).on_conflict_do_update(["topic"], set_={"until": sqlite.insert(_W).excluded.until}),
    "postgresql": postgresql.insert(_W).on_conflict_do_update(
        index_elements=["topic"], set_={"until": postgresql.insert(_W).excluded.until}
    ),
}
FORGET = delete(_W).where(_W.c.until < bindparam("now"))


def watch(services: Services, topic: str) -> None:
    """Somebody looks at this job, run or workspace. Written down at most twice in the time it lasts, and nobody who
    only looks waits for it."""
    standing, now = services.standing, services.clock.now()
    lasts = timedelta(seconds=services.rules.watched_for)
    if standing.watched_until.get(topic, now) > now + lasts / 2:
        return

    def watched(tx: Tx) -> None:
        tx.execute(_UPSERT[tx.dialect], {"topic": topic, "until": now + lasts})

    services.db.hint(watched, f"watch:{topic}", lambda: standing.remember_watch(topic, now + lasts, now))


async def is_watched(services: Services, job: JobRow) -> bool:
    """Whether anybody, in any process, watches the job, its run or its workspace."""
    topics = [topic for topic in (job.id, job.run, job.workspace) if topic]
    now = services.clock.now()
    if any(services.standing.watched(topic, now) for topic in topics):
        return True
    async with services.db.read() as session:
        seen = select(WatchRow.topic).where(col(WatchRow.topic).in_(topics), WatchRow.until > now).limit(1)
        return (await session.exec(seen)).first() is not None
