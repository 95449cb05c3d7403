"""The ETA comes from what this installation has seen of the model, once it has seen enough."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from app.jobs.pace import usual_run
from tests.home import ORDER, Home
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = str(ORDER["model"])


async def test_the_median_of_enough_good_runs_counts(home: Home) -> None:
    catalogue = timedelta(seconds=home.services.catalog.get(MODEL).pace.p50)
    for seconds in (20, 40, 41, 42):
        await _good_run(home, seconds)
    assert abs(await usual_run(home.services, MODEL) - catalogue) < timedelta(milliseconds=10)
    await _good_run(home, 3_600)
    assert abs(await usual_run(home.services, MODEL) - catalogue) < timedelta(milliseconds=10), "believed for a minute"
    home.services.standing.paces.clear()
    assert await usual_run(home.services, MODEL) == timedelta(seconds=41)

    progress = await _progress(home)

    assert progress["estimated"]
    assert 35 <= progress["eta_seconds"] <= 41
    assert 0 <= progress["percent"] <= 10


async def test_the_time_in_fal_s_line_is_no_part_of_the_run(home: Home) -> None:
    progress = await _progress(home, waited=3_000)

    assert progress["percent"] <= 10, "else it takes longer than usual before it has begun"


async def _good_run(home: Home, seconds: int) -> None:
    waiting = await home.submitted()
    await home.send(home.letter(waiting))
    await home.ended(waiting.job)
    lasted = f"started_at = strftime('%Y-%m-%d %H:%M:%f000', ended_at, '-{seconds} seconds')"
    ended = "ended_at = substr(ended_at, 1, 19) || '.000000'"
    for change in (ended, lasted):
        _change(home, f"UPDATE attempts SET {change} WHERE id = '{waiting.attempt}'")


async def _progress(home: Home, waited: int = 0) -> dict[str, Any]:
    """Of a job that somebody watches and that fal works on, after so many seconds in its line."""
    waiting = await home.submitted()
    since = f"accepted_at = strftime('%Y-%m-%d %H:%M:%f000', accepted_at, '-{waited} seconds')"
    _change(home, f"UPDATE attempts SET {since} WHERE id = '{waiting.attempt}'")
    async with home.client() as web:
        await web.get(f"/api/v1/jobs/{waiting.job}")
    _change(home, f"UPDATE tasks SET due_at = created_at WHERE key = 'jobs.reconcile:{waiting.attempt}'")
    async with home.working():
        await until(lambda: home.job(waiting.job)["progress"])
    told: dict[str, Any] = json.loads(home.job(waiting.job)["progress"])
    return told


def _change(home: Home, script: str) -> None:
    with closing(sqlite3.connect(home.file)) as connection, connection:
        connection.execute(script)
