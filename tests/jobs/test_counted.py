"""What the metrics say of the line, counted from where it really happened."""

from __future__ import annotations

import pytest

from tests.home import ORDER, Home

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHNELL = "fal-ai/flux/schnell"


async def test_jobs_of_runs_and_those_made_again_are_accepted_jobs_too(home: Home) -> None:
    before = _value(home, "jobs_accepted_total", model=SCHNELL)
    async with home.client() as web:
        run = (await web.post("/api/v1/runs", json={"jobs": [ORDER, ORDER]})).json()
        assert _value(home, "jobs_accepted_total", model=SCHNELL) == before + 2
        await web.post(f"/api/v1/jobs/{run['jobs'][0]}/cancel")
        assert (await web.post(f"/api/v1/jobs/{run['jobs'][0]}/retry")).status_code == 202
        assert _value(home, "jobs_accepted_total", model=SCHNELL) == before + 3
        await web.post(f"/api/v1/jobs/{run['jobs'][1]}/cancel")
        assert (await web.post(f"/api/v1/runs/{run['id']}/retry-failed")).json()["retried"] == 1
        assert _value(home, "jobs_accepted_total", model=SCHNELL) == before + 4


async def test_each_stage_of_the_line_is_timed(home: Home) -> None:
    stages = ("accept", "dispatch", "webhook", "ingest", "mirror")
    before = {stage: _value(home, "stage_seconds_count", stage=f"jobs.{stage}") for stage in stages}
    waiting = await home.submitted()
    await home.send(home.letter(waiting))
    await home.ended(waiting.job)
    after = {stage: _value(home, "stage_seconds_count", stage=f"jobs.{stage}") for stage in stages}
    assert all(after[stage] > before[stage] for stage in stages), (before, after)


async def test_both_ledgers_are_summed_at_each_scrape(home: Home) -> None:
    waiting = await home.submitted()
    await home.send(home.letter(waiting))
    job = await home.ended(waiting.job)
    async with home.client() as web:
        said = (await web.get("/metrics")).text

    sums = (
        home.rows("SELECT sum(spent) AS spent FROM balances")[0]
        | home.rows("SELECT sum(cost_micro_usd) AS costs FROM attempts")[0]
    )
    assert sums["spent"] >= job["credits_posted"] > 0
    assert sums["costs"] > 0
    assert f'darkroom_credits{{account="spent"}} {float(sums["spent"])}\n' in said
    assert f'darkroom_micro_usd{{account="costs"}} {float(sums["costs"])}\n' in said


async def test_bytes_are_counted_where_they_move(home: Home) -> None:
    before = _moved(home)
    waiting = await home.submitted()
    await home.send(home.letter(waiting))
    await home.ended(waiting.job)
    [asset] = home.rows("SELECT * FROM assets WHERE job = ?", waiting.job)
    mirrored = _moved(home)
    assert mirrored["in"] - before["in"] == home.fal.sent, "what fal sent, not what we made of it"
    thumbnail = home.life.wired.settings.files / asset["thumbnail_key"]
    assert mirrored["stored"] - before["stored"] == asset["size"] + thumbnail.stat().st_size
    async with home.client() as web:
        content = await web.get(f"/api/v1/assets/{asset['id']}/content")
        served = _moved(home)
        assert served["out"] - mirrored["out"] == len(content.content) == asset["size"]
        await web.post("/api/v1/uploads", files={"files": ("a.png", content.content)})
    uploaded = _moved(home)
    assert uploaded["in"] - served["in"] == asset["size"]
    assert uploaded["stored"] > served["stored"]


def _moved(home: Home) -> dict[str, float]:
    return {way: _value(home, "transfer_bytes_total", direction=way) for way in ("in", "stored", "out")}


def _value(home: Home, name: str, **labels: str) -> float:
    return home.services.metrics.registry.get_sample_value(f"darkroom_{name}", labels) or 0
