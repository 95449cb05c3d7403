"""The time in which a person has paused a run is not taken from its jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlmodel import col, select

from app.accounts.development import DEVELOPMENT
from app.jobs import runs
from app.jobs.accept_run import RunRequest, accept_run
from app.jobs.cancel import sweep_deadlines
from app.jobs.lifecycle import JobStatus
from app.jobs.model import JobRow
from app.services import Services
from app.store.tasks import Task
from tests.databases import DATABASES
from tests.home import ORDER, Home, home_in, services_on

SWEEP = Task("task_x", "schedule.jobs.deadlines", "schedule:jobs.deadlines", "ws", {}, 0, 0, 0, 1)
MINUTE = timedelta(minutes=1)
WEEK = 7 * 86_400


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Home]:
    async with home_in(tmp_path) as home:
        yield home


async def test_a_run_that_was_paused_beyond_its_deadline_goes_on_when_it_is_resumed(house: Home) -> None:
    run = await _run(house, deadline_seconds=300)
    before = _deadlines(house, run)
    await _do(house, run, "pause")
    await _later(house, 60 * MINUTE)
    assert _statuses(house, run) == ["queued", "queued"]
    await _do(house, run, "resume")
    moved = [now - then for then, now in zip(before, _deadlines(house, run), strict=True)]
    assert all(60 * MINUTE <= each < 61 * MINUTE for each in moved), moved
    await _later(house, 4 * MINUTE)
    assert _statuses(house, run) == ["queued", "queued"]
    await _later(house, 2 * MINUTE)
    assert _statuses(house, run) == ["cancelled", "cancelled"]


@pytest.mark.parametrize("kind", DATABASES)
async def test_both_databases_count_the_time(kind: str, tmp_path: Path) -> None:
    async with services_on(kind, tmp_path) as services:
        order = RunRequest.model_validate({"jobs": [ORDER, ORDER], "deadline_seconds": 300})
        view, _ = await accept_run(services, DEVELOPMENT, order, None)
        before = await _deadlines_in(services, view.id)
        await runs.pause(services, await runs.find(services, DEVELOPMENT, view.id))
        services.clock.agree_with(services.clock.now() + 60 * MINUTE)
        await sweep_deadlines(services, SWEEP)
        await runs.resume(services, await runs.find(services, DEVELOPMENT, view.id))
        await sweep_deadlines(services, SWEEP)
        after = await _deadlines_in(services, view.id)
        assert [round((now - then) / MINUTE) for then, now in zip(before, after, strict=True)] == [60, 60]


async def test_each_pause_counts_once_and_only_for_what_was_there(house: Home) -> None:
    run = await _run(house, deadline_seconds=300)
    await _do(house, run, "pause")
    await _later(house, 60 * MINUTE)
    await _do(house, run, "cancel", of=_jobs(house, run)[1])
    await _do(house, run, "retry-failed")
    _, anew = before = _deadlines(house, run)
    await _later(house, 60 * MINUTE)
    await _do(house, run, "resume")
    await _do(house, run, "resume")
    assert [round((now - then) / MINUTE) for then, now in zip(before, _deadlines(house, run), strict=True)] == [120, 60]
    await _do(house, run, "pause")
    await _do(house, run, "resume")
    assert _deadlines(house, run)[1] - anew < 61 * MINUTE


async def test_what_has_left_the_queue_keeps_its_deadline(house: Home) -> None:
    run = await _run(house, deadline_seconds=300)
    async with house.working():
        pass
    assert _statuses(house, run) == ["submitted", "submitted"]
    before = _deadlines(house, run)
    await _do(house, run, "pause")
    await _later(house, MINUTE)
    await _do(house, run, "resume")
    assert _deadlines(house, run) == before


async def test_a_job_with_all_the_time_there_is_can_still_be_made_again_after_a_pause(house: Home) -> None:
    run = await _run(house, deadline_seconds=WEEK)
    await _do(house, run, "pause")
    await _later(house, 60 * MINUTE)
    await _do(house, run, "resume")
    await _do(house, run, "cancel", of=_jobs(house, run)[0])
    assert (await _do(house, run, "retry-failed"))["retried"] == 1


async def _run(home: Home, **more: Any) -> str:
    async with home.client() as web:
        answer = await web.post("/api/v1/runs", json={"jobs": [ORDER, ORDER], **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _do(home: Home, run: str, what: str, *, of: str | None = None) -> dict[str, Any]:
    async with home.client() as web:
        answer = await web.post(f"/api/v1/{f'jobs/{of}' if of else f'runs/{run}'}/{what}")
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _deadlines_in(services: Services, run: str) -> list[datetime]:
    """Of those that are still queued."""
    async with services.db.read() as session:
        queued = select(JobRow).where(JobRow.run == run, JobRow.status == JobStatus.QUEUED).order_by(col(JobRow.slot))
        return [job.deadline_at for job in (await session.exec(queued)).all()]


async def _later(home: Home, span: timedelta) -> None:
    """So much later, when what is overdue has been swept."""
    home.services.clock.agree_with(home.services.clock.now() + span)
    await sweep_deadlines(home.services, SWEEP)


def _statuses(home: Home, run: str) -> list[str]:
    return [home.job(job)["status"] for job in _jobs(home, run)]


def _deadlines(home: Home, run: str) -> list[datetime]:
    return [datetime.fromisoformat(home.job(job)["deadline_at"]) for job in _jobs(home, run)]


def _jobs(home: Home, run: str) -> list[str]:
    return [row["job"] for row in home.rows("SELECT job FROM slots WHERE run = ? ORDER BY number", run)]
