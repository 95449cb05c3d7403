"""A process that stands still in the middle of a write, because it is frozen. To PostgreSQL it is alive, so its locks
stay, and everybody who needs one of them waits for as long as it does; its tasks are passed over, since a row that
somebody holds is no reason to wait. Its leases lapse, and so have these locks to.

The server's own limit for idle transactions does not see it between two statements that are sent ahead of their answers
(see `app.store.prepared`), which is where a write spends half of its time.
"""

from __future__ import annotations

from sqlalchemy import text

from app.store.database import Database

WRITER = "darkroom-writer"
"""How connections that write are known to the server."""

_END = text("""
    SELECT count(pg_terminate_backend(activity.pid))
    FROM pg_stat_activity AS activity
    WHERE activity.datname = current_database()
      AND activity.application_name = :writer
      AND activity.state <> 'idle'
      AND activity.wait_event = 'ClientRead'
      AND activity.state_change < clock_timestamp() - make_interval(secs => :seconds)
      AND EXISTS (
        SELECT FROM pg_locks AS lock JOIN pg_class ON pg_class.oid = lock.relation
        WHERE lock.pid = activity.pid
          AND lock.database = activity.datid
          AND lock.mode IN ('RowShareLock', 'RowExclusiveLock')
          AND pg_class.relnamespace = current_schema()::text::regnamespace
      )
""")
"""Of this installation alone: another one may have a schema of its own beside it."""


async def break_locks(db: Database, held_for: float) -> int:
    """End every write whose process has said nothing for so many seconds; how many. Whoever comes to itself runs its
    write again, and finds its fence an old one. Asked through a reader: all writers may be waiting for that lock."""
    async with db.read() as session:
        broken = await (await session.connection()).execute(_END, {"writer": WRITER, "seconds": held_for})
        count: int = broken.scalar_one()
    return count
