"""A submission whose answer was lost, and of which no trace appears in fal's list until the grace time is over."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.home import Home, Waiting
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_is_bought_again(home: Home) -> None:
    waiting = await _lost(home)
    await _grace_is_over(home, waiting)
    assert home.job(waiting.job)["attempt"] == 2
    assert _attempts(home, waiting)[0] == ("abandoned", "untraced")


async def test_until_then_it_is_looked_for_and_not_bought_again(home: Home) -> None:
    waiting = await _lost(home)
    _spoil(home, f"UPDATE tasks SET due_at = created_at WHERE key = 'jobs.reconcile:{waiting.attempt}'")
    async with home.working():
        await until(lambda: home.rows("SELECT 1 FROM attempts WHERE id = ? AND looks > 0", waiting.attempt))
    assert home.job(waiting.job)["status"] == "submitting"
    assert _attempts(home, waiting) == [("sending", None)]


async def test_while_the_list_is_longer_than_can_be_read_it_is_not_bought_again(home: Home) -> None:
    waiting = await _lost(home)
    home.fal.listing_ends = False
    try:
        _make_overdue(home, waiting)
        of_it = "SELECT last_error AS error FROM tasks WHERE key = ?"
        async with home.working():
            await until(lambda: home.rows(of_it, f"jobs.reconcile:{waiting.attempt}")[0]["error"])
        assert "too long" in home.rows(of_it, f"jobs.reconcile:{waiting.attempt}")[0]["error"]
        assert _attempts(home, waiting) == [("sending", None)]
    finally:
        home.fal.listing_ends = True


async def test_when_it_was_the_last_that_may_be_bought_the_job_fails_and_is_counted(home: Home) -> None:
    counted = _ended(home, "attempts-spent")
    waiting = await _lost(home)
    _spoil(home, f"UPDATE jobs SET max_attempts = 1 WHERE id = '{waiting.job}'")
    await _grace_is_over(home, waiting)
    assert home.job(waiting.job)["status"] == "failed"
    assert _attempts(home, waiting) == [("abandoned", "untraced")]
    assert _ended(home, "attempts-spent") == counted + 1


async def test_of_a_job_that_was_cancelled_meanwhile_it_ends_too(home: Home) -> None:
    waiting = await _lost(home)
    async with home.client() as web:
        assert (await web.post(f"/api/v1/jobs/{waiting.job}/cancel")).json()["status"] == "cancelled"
    assert _attempts(home, waiting) == [("sending", None)]
    await _grace_is_over(home, waiting)
    assert home.job(waiting.job)["status"] == "cancelled"
    assert _attempts(home, waiting) == [("abandoned", "untraced")]


async def _lost(home: Home) -> Waiting:
    """A job in `submitting`, as a crash between the POST and its answer leaves it."""
    waiting = await home.submitted()
    _spoil(home, f"UPDATE jobs SET status = 'submitting' WHERE id = '{waiting.job}'")
    unknown = "status = 'sending', request_id = NULL, accepted_at = NULL"
    _spoil(home, f"UPDATE attempts SET {unknown} WHERE id = '{waiting.attempt}'")
    return waiting


async def _grace_is_over(home: Home, waiting: Waiting) -> None:
    _make_overdue(home, waiting)
    async with home.working():
        await until(lambda: _attempts(home, waiting)[0][0] != "sending")


def _make_overdue(home: Home, waiting: Waiting) -> None:
    _spoil(home, f"UPDATE attempts SET created_at = '2026-01-01 00:00:00.000000' WHERE id = '{waiting.attempt}'")
    _spoil(home, f"UPDATE tasks SET due_at = created_at WHERE key = 'jobs.reconcile:{waiting.attempt}'")


def _spoil(home: Home, script: str) -> None:
    with closing(sqlite3.connect(home.file)) as connection, connection:
        connection.execute(script)


def _attempts(home: Home, waiting: Waiting) -> list[tuple[str, str | None]]:
    rows = home.rows("SELECT status, outcome FROM attempts WHERE job = ? ORDER BY number", waiting.job)
    return [(row["status"], row["outcome"]) for row in rows]


def _ended(home: Home, code: str) -> float:
    labels = {"status": "failed", "code": code}
    return home.services.metrics.registry.get_sample_value("darkroom_jobs_ended_total", labels) or 0
