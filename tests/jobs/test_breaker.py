"""Sending pauses while fal turns our key away, and never longer than it was meant to."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs import breaker
from app.jobs.breaker import advice
from app.ports import NotAccepted
from tests.home import Home, home_in
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Clock:
    wall: datetime
    seconds: float = 1_000.0

    def now(self) -> datetime:
        return self.wall

    def agree_with(self, other: datetime) -> None: ...

    def monotonic(self) -> float:
        return self.seconds

    def after(self, seconds: float) -> datetime:
        return self.wall + timedelta(seconds=seconds)


async def test_a_clock_that_is_set_back_does_not_make_the_pause_longer(home: Home) -> None:
    clock = Clock(datetime.now(UTC))
    standing, rules = home.services.standing, home.services.rules
    given: Any = {"clock": clock}
    services = replace(home.services, **given)
    for _ in range(rules.breaker_opens_after):
        assert standing.paused_for(clock.seconds) == 0
        breaker.learn(services, NotAccepted(403, "balance exhausted"))
    assert standing.paused_for(clock.seconds) == rules.breaker_pause

    clock.wall -= timedelta(hours=1)
    clock.seconds += rules.breaker_pause

    assert standing.paused_for(clock.seconds) == 0


async def test_jobs_that_wait_say_so_with_the_time_at_which_they_are_really_sent(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.refusing = 401
        after = home.services.rules.breaker_opens_after
        jobs = [await home.order() for _ in range(after)]
        async with home.working():
            await until(lambda: home.services.standing.paused_for(home.services.clock.monotonic()) > 0, within=20)
            late = await home.order()
            await until(lambda: home.job(late)["note"], within=20)
            await until(lambda: all(home.job(job)["status"] == "queued" for job in jobs))
            await until(lambda: "fal-turns-us-away" in {n["code"] for n in _notices(home, None)})
        for job in (*jobs, late):
            said = home.job(job)["note"]
            assert said.startswith("Waiting: fal does not accept our requests (401)"), said
        [told] = _notices(home, late)
        assert (told["code"], told["step"]) == ("waits-for-fal", "queued")
        assert "401" in told["detail"]
        [operators] = [n for n in _notices(home, None) if n["code"] == "fal-turns-us-away"]
        assert "FAL_KEY" in operators["detail"]
        last = _events(home, "job.retrying")[-1]
        [task] = home.rows("SELECT due_at FROM tasks WHERE key LIKE ?", f"jobs.dispatch:{last['job']}:%")
        told_at = datetime.fromisoformat(json.loads(last["data"])["next_at"])
        assert datetime.fromisoformat(task["due_at"]).replace(tzinfo=UTC) == told_at
        pause_ends = home.services.standing.paused_for(home.services.clock.monotonic())
        assert (told_at - home.services.clock.now()).total_seconds() >= pause_ends - 0.5


async def test_what_fal_never_took_is_no_attempt_that_counts(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.refusing = 403
        job = await home.order()
        async with home.working():
            await until(lambda: _events(home, "job.retrying"), within=20)
        async with home.client() as web:
            seen = (await web.get(f"/api/v1/jobs/{job}")).json()
            assert (seen["status"], seen["attempt"]) == ("queued", 0)
            [tried] = (await web.get(f"/api/v1/jobs/{job}/attempts")).json()["data"]
            assert (tried["number"], tried["status"]) == (1, "not_accepted")
            home.fal.refusing = 0
            async with home.working():
                await until(lambda: home.job(job)["status"] == "submitted", within=20)
            assert (await web.get(f"/api/v1/jobs/{job}")).json()["attempt"] == 1
            assert len((await web.get(f"/api/v1/jobs/{job}/attempts")).json()["data"]) == 2


async def test_the_advice_goes_by_what_fal_answered() -> None:
    assert "balance" in advice(401)
    assert "balance" in advice(403)
    assert "at once" in advice(429)
    assert "FAL_KEY" not in advice(429)


def _notices(home: Home, job: str | None) -> list[dict[str, Any]]:
    return [json.loads(row["data"]) for row in _events(home, "notice") if row["job"] == job]


def _events(home: Home, kind: str) -> list[dict[str, Any]]:
    return home.rows("SELECT * FROM events WHERE type = ? ORDER BY workspace, seq", kind)
