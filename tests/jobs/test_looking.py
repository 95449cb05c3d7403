"""Looking never waits for a writer: who looks, and with which key, is noted on the side."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from app.core.errors import Unavailable
from app.jobs.watching import watch
from tests.home import ORDER, Home
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_locked_database_does_not_hold_up_whoever_looks(home: Home) -> None:
    job, run = await home.order(), await _run(home)
    for path in (f"jobs/{job}", "jobs", f"runs/{run}", "runs", "events", "credits"):
        key, _ = await _unused_key(home)
        with _locked(home):
            async with asyncio.timeout(1), home.client(key) as web:
                answer = await web.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text


async def test_who_looks_is_noted_all_the_same(home: Home) -> None:
    job, (key, id_) = await home.order(), await _unused_key(home)
    async with home.client(key) as web:
        await web.get(f"/api/v1/jobs/{job}")
    await until(lambda: home.rows("SELECT 1 FROM watches WHERE topic = ?", job))
    await until(lambda: home.rows("SELECT 1 FROM keys WHERE id = ? AND last_used_at IS NOT NULL", id_))


async def test_what_could_not_be_noted_is_not_believed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    services = home.services
    hint = services.db.hint

    def refusing(_work: object, key: str, noted: Callable[[], None]) -> None:
        hint(_away, key, noted)

    with monkeypatch.context() as patch:
        patch.setattr(services.db, "hint", refusing)
        watch(services, "job_nobody_has")
    await services.db.check()  # a later write has come through, so the earlier one is over
    assert "job_nobody_has" not in services.standing.watched_until
    watch(services, "job_nobody_has")
    await until(lambda: "job_nobody_has" in services.standing.watched_until)


async def test_an_accepted_job_is_told_though_it_cannot_be_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(type(home.services.hub), "follow", away)
    async with home.client() as web:
        answer = await web.post("/api/v1/jobs", json=ORDER, headers={"Prefer": "wait=5"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def _away(_tx: object) -> None:
    raise Unavailable("The database is away.")


async def _run(home: Home) -> str:
    async with home.client() as web:
        answer = await web.post("/api/v1/runs", json={"jobs": [ORDER]})
    return str(answer.json()["id"])


async def _unused_key(home: Home) -> tuple[str, str]:
    async with home.client() as web:
        made: dict[str, Any] = (await web.post("/api/v1/keys", json={"name": "new"})).json()
    return made["key"], made["id"]


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """By another program, as it were."""
    with closing(sqlite3.connect(home.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
