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
from tests.home import ORDER, Home, home_in
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


@pytest.mark.asyncio
async def test_whoever_had_to_wait_while_nothing_could_be_written_is_told_once_it_is_over(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        services, standing = home.services, home.services.standing
        now, heard = services.clock.now(), services.clock.monotonic()
        waits = await home.order()
        [job] = home.rows("SELECT workspace FROM jobs WHERE id = ?", waits)

        def failed(since: timedelta, until: timedelta, before: float) -> None:
            for at in (since, until):
                standing.could_not_write("database", now + at, heard - before, "The disk is full.")

        failed(timedelta(minutes=1), timedelta(minutes=7), services.rules.lease - 10)
        await outages._tell_of_what_could_not_be_written(services)
        assert _told(home) == [], "it may go on failing"
        failed(timedelta(minutes=1), timedelta(minutes=7), services.rules.lease)
        await outages._tell_of_what_could_not_be_written(services)
        assert _told_to(home, job["workspace"]) == ["jobs-had-to-wait"]
        assert sorted(_told(home)) == ["database-was-away", "jobs-had-to-wait"]
        said = home.rows("SELECT data FROM events WHERE data LIKE '%jobs-had-to-wait%'")[0]["data"]
        assert f"From {now + timedelta(minutes=1):%Y-%m-%d %H:%M:%S} to {now + timedelta(minutes=7):%H:%M:%S}" in said

        failed(-timedelta(minutes=5), timedelta(minutes=6), 60)  # as another process saw it
        await outages._tell_of_what_could_not_be_written(services)
        assert (len(_told(home)), standing.unwritable) == (2, {})


@pytest.mark.asyncio
async def test_a_hiccup_and_a_job_that_is_not_due_yet_are_no_waiting(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        services, long_ago = home.services, home.services.clock.monotonic() - 60
        await home.order()
        services.standing.could_not_write("database", services.clock.now(), long_ago, "The disk is full.")
        await outages._tell_of_what_could_not_be_written(services)
        assert _told(home) == ["database-was-away"]

    async with home_in(tmp_path / "other") as home:
        services, now = home.services, home.services.clock.now()
        later = (now + timedelta(hours=1)).isoformat()
        async with home.client() as web:
            assert (await web.post("/api/v1/jobs", json=ORDER | {"not_before": later})).status_code == 202
        for at in (now, now + timedelta(minutes=5)):
            services.standing.could_not_write("storage", at, long_ago, "The disk is full.")
        await outages._tell_of_what_could_not_be_written(services)
        assert _told(home) == ["storage-was-full"]


def _put_off(tx: Tx, hours: int) -> None:
    """As after a long outage."""
    tasks = table(TaskRow)
    tx.execute(update(tasks).where(tasks.c.last_error.is_not(None)).values(due_at=tx.now + timedelta(hours=hours)))


def _waiting(home: Home, what: str = "dispatch") -> int:
    soon = (home.services.clock.now() + timedelta(minutes=30)).replace(tzinfo=None).isoformat(" ")
    query = "SELECT 1 FROM tasks WHERE kind = ? AND state = 'ready' AND due_at > ?"
    return len(home.rows(query, f"jobs.{what}", soon))


def _told_to(home: Home, workspace: str) -> list[str]:
    rows = home.rows("SELECT data FROM events WHERE type = 'notice' AND workspace = ?", workspace)
    return [json.loads(row["data"])["code"] for row in rows]


def _told(home: Home) -> list[str]:
    rows = home.rows("SELECT data FROM events WHERE type = 'notice' ORDER BY seq")
    return [json.loads(row["data"])["code"] for row in rows]
