"""Cancelling a run with many jobs: the request answers soon and tells what has ended so far; a task ends the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlmodel import col, select

from app.accounts.development import DEVELOPMENT
from app.credits.model import TransferRow
from app.jobs import runs
from app.jobs.accept_run import RunRequest, accept_run
from app.jobs.cancel import IN_ONE_WRITE, cancel_job, cancel_many
from app.jobs.lifecycle import JobStatus
from app.jobs.model import JobRow
from app.services import Services
from tests.databases import DATABASES
from tests.home import ORDER, Home, home_in, services_on

MANY = 3 * IN_ONE_WRITE + 7


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Home]:
    async with home_in(tmp_path) as home:
        yield home


@pytest.mark.parametrize("policy", ["per_item", "all_or_nothing"])
async def test_the_request_does_a_part_and_says_so_and_the_task_does_the_rest(
    house: Home, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.client() as web:
        run = (await web.post("/api/v1/runs", json={"jobs": [ORDER] * MANY, "policy": policy})).json()["id"]
        used = _counted(house.services, monkeypatch)
        said = (await web.post(f"/api/v1/runs/{run}/cancel")).json()
        assert (said["status"], said["counts"]["cancelled"]) == ("cancelled", IN_ONE_WRITE)
        assert used["write"] == 2
        assert used["read"] < 10
        assert said["credits"]["held"] == (MANY - IN_ONE_WRITE if policy == "per_item" else 0)
        async with house.working():
            pass
        said = (await web.get(f"/api/v1/runs/{run}")).json()
        assert said["counts"] == {"total": MANY, "completed": 0, "failed": 0, "cancelled": MANY}
        has = (await web.get("/api/v1/credits")).json()
    assert (has["available"], has["held"], has["spent"]) == (1_000, 0, 0)
    told = house.rows("SELECT 1 FROM events WHERE run = ? AND type = 'job.cancelled'", run)
    assert len(told) == MANY
    assert house.fal.webhooks == {}, "nothing of it was sent"


async def test_what_fal_has_is_called_back_all_of_it(house: Home) -> None:
    async with house.client() as web:
        run = (await web.post("/api/v1/runs", json={"jobs": [ORDER] * 5})).json()["id"]
        async with house.working():
            pass
        await web.post(f"/api/v1/runs/{run}/cancel")
    assert len(house.rows("SELECT 1 FROM tasks WHERE kind = 'jobs.recall'")) == 5


@pytest.mark.parametrize("policy", ["per_item", "all_or_nothing"])
@pytest.mark.parametrize("kind", DATABASES)
async def test_what_has_ended_by_itself_meanwhile_keeps_nothing_else_from_ending(
    kind: str, policy: str, tmp_path: Path
) -> None:
    async with services_on(kind, tmp_path) as services:
        order = RunRequest.model_validate({"jobs": [ORDER] * 4, "policy": policy})
        view, _ = await accept_run(services, DEVELOPMENT, order, None)
        seen = await _jobs_of(services, view.id)
        await cancel_job(services, DEVELOPMENT, seen[1].id)
        assert await cancel_many(services, seen, "run") == 3
        assert await cancel_many(services, seen, "run") == 0
        assert {job.status for job in await _jobs_of(services, view.id)} == {JobStatus.CANCELLED}
        run = await runs.find(services, DEVELOPMENT, view.id)
        assert (run.cancelled, run.total) == (4, 4)
        async with services.db.read() as session:
            voided = select(TransferRow.hold).where(TransferRow.kind == "void")
            assert sorted(map(str, (await session.exec(voided)).all())) == sorted(job.hold for job in seen if job.hold)


def _counted(services: Services, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the database is asked for a read or a write from now on."""
    used: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(services.db, name)

        def counting(*given: Any) -> Any:
            used[name] += 1
            return real(*given)

        monkeypatch.setattr(services.db, name, counting)

    count("read")
    count("write")
    return used


async def _jobs_of(services: Services, run: str) -> list[JobRow]:
    async with services.db.read() as session:
        return list((await session.exec(select(JobRow).where(JobRow.run == run).order_by(col(JobRow.slot)))).all())
