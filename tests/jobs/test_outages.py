"""When fal cannot be reached, that shows: on the job, in `/readyz`, and once to the operators, as its return does."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text, update
from structlog.testing import capture_logs

from app.jobs import outages
from app.store.columns import table
from app.store.tasks import Lane, Task, TaskRow
from app.store.write import Tx
from tests.home import Home, home_in
from tests.waiting import until

NOWHERE = "http://127.0.0.1:9"
LOOK = Task("task_x", "jobs.outages", "schedule:jobs.outages", "ws", {}, Lane.NORMAL, 0, 0, 1)


@pytest.mark.asyncio
async def test_submissions_that_find_no_connection_are_an_outage_that_shows(tmp_path: Path) -> None:
    async with home_in(tmp_path, DARKROOM_FAL_URL=NOWHERE) as home:
        standing, after = home.services.standing, home.services.rules.unreachable_after
        jobs = [await home.order() for _ in range(after)]
        async with home.working():
            await until(lambda: standing.unsent >= after, within=20)
        async with home.client() as web:
            job = (await web.get(f"/api/v1/jobs/{jobs[0]}")).json()
            assert job["status"] == "queued"
            assert job["note"].startswith("Waiting: no connection to fal; next try at ")
            provider = (await web.get("/readyz")).json()["checks"]["provider"]
            assert not provider["ok"]
            assert "No connection to fal" in provider["detail"]
            cancelled = (await web.post(f"/api/v1/jobs/{jobs[0]}/cancel")).json()
            assert cancelled["note"] is None
        assert _told(home) == ["provider-away"]
        await home.services.db.write(partial(_put_off, hours=1))
        assert _waiting(home) == after
        await outages.sent(home.services)
        await outages.sent(home.services)
        assert _told(home) == ["provider-away", "provider-back"]
        assert _waiting(home) == 0, "what was put off goes on at once"


@pytest.mark.asyncio
async def test_only_what_was_away_is_said_to_be_back(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        standing, after = home.services.standing, home.services.rules.unreachable_after
        with capture_logs() as lines:
            await outages.look_around(home.services, LOOK)
            assert standing.failures == {"provider": 0, "storage": 0}
            assert [line for line in lines if line["event"] == "back"] == []
            for _ in range(after):
                await outages.unsent(home.services, "gone")
            await outages.sent(home.services)
        assert [(line["event"], line["what"]) for line in lines if line["event"] in ("away", "back")] == [
            ("away", "provider"),
            ("back", "provider"),
        ]
        assert _told(home) == ["provider-away", "provider-back"]


_MANY = """
WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 2500)
INSERT INTO tasks (id, kind, key, workspace, payload, state, lane, due_at, tries, deaths, fence, last_error, created_at)
SELECT 'task_' || n, 'jobs.' || CASE n % 2 WHEN 0 THEN 'dispatch' ELSE 'mirror' END, 'key_' || n, 'ws', '{}', 'ready',
       0, :then, 1, 0, 1, 'was away', :then FROM counted
"""


@pytest.mark.asyncio
async def test_only_a_return_brings_forward_what_waits_for_it_and_then_all_of_it(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        services, each = home.services, 1_250
        later = (services.clock.now() + timedelta(hours=1)).replace(tzinfo=None).isoformat(" ")
        await services.db.write(lambda tx: tx.execute(text(_MANY), {"then": later}))

        await outages._look_at(services, "storage", services.blobs.check)
        assert (_waiting(home), _waiting(home, "mirror"), _told(home)) == (each, each, []), "it was not away"

        await outages._away(services, "storage", "gone")
        services.standing.failures["storage"] = 2
        await outages._look_at(services, "storage", services.blobs.check)
        assert (_waiting(home), _waiting(home, "mirror")) == (each, 0), "fal may have asked for time"
        assert _told(home) == ["storage-away", "storage-back"]

        await services.db.write(outages._hasten_one)
        assert _waiting(home) == each - 1


def _put_off(tx: Tx, hours: int) -> None:
    """As after a long outage."""
    tasks = table(TaskRow)
    tx.execute(update(tasks).where(tasks.c.last_error.is_not(None)).values(due_at=tx.now + timedelta(hours=hours)))


def _waiting(home: Home, what: str = "dispatch") -> int:
    soon = (home.services.clock.now() + timedelta(minutes=30)).replace(tzinfo=None).isoformat(" ")
    query = "SELECT 1 FROM tasks WHERE kind = ? AND state = 'ready' AND due_at > ?"
    return len(home.rows(query, f"jobs.{what}", soon))


def _told(home: Home) -> list[str]:
    rows = home.rows("SELECT data FROM events WHERE type = 'notice' ORDER BY seq")
    return [json.loads(row["data"])["code"] for row in rows]
