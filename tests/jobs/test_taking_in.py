"""What a delivery that the reconciler found comes to: what it costs, and what a dry run says of it beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from app.jobs import attempts
from app.jobs.deliveries import keep_look
from app.jobs.redrive import redrive
from app.ports import Answer
from tests.home import Home, Waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(("units", "micro_usd"), [(0.0, 0), (2.0, 6_000), (None, 3_000)])
async def test_what_fal_says_it_billed_is_booked_even_if_it_is_nothing(
    home: Home, units: float | None, micro_usd: int
) -> None:
    waiting = await home.submitted()
    await _looked(home, waiting, Answer(200, home.fal.payload(waiting.request_id)["payload"], billable_units=units))
    await home.ended(waiting.job)

    [attempt] = home.rows("SELECT cost_micro_usd FROM attempts WHERE id = ?", waiting.attempt)
    assert attempt["cost_micro_usd"] == micro_usd
    booked = "SELECT amount FROM entries JOIN transfers ON id = transfer WHERE owner = ? AND account = 'costs'"
    assert [row["amount"] for row in home.rows(booked, waiting.job)] == ([micro_usd] if micro_usd else [])


@pytest.mark.parametrize(
    ("answer", "decision", "status"),
    [
        (Answer(500, {"detail": "no"}, retryable=True), "again: provider-fault", "queued"),
        (Answer(500, {"detail": "no"}, retryable=False), "fail: provider-fault", "failed"),
        (Answer(500, "no", error_type="content_policy_violation"), "fail: content-refused", "failed"),
    ],
    ids=["may be tried again", "may not", "of a named type"],
)
async def test_a_dry_run_says_what_will_be_decided(home: Home, answer: Answer, decision: str, status: str) -> None:
    waiting = await home.submitted()
    delivery = await _looked(home, waiting, answer)

    said = await redrive(home.services, delivery, dry_run=True)
    async with home.working():
        pass

    assert (said.decision, said.changes) == (decision, True)
    assert home.rows("SELECT effect FROM deliveries WHERE id = ?", delivery) == [{"effect": "ingested"}]
    retried = home.rows("SELECT 1 FROM events WHERE job = ? AND type = 'job.retrying'", waiting.job)
    assert bool(retried) == (status == "queued")
    assert (home.job(waiting.job)["status"] == "failed") == (status == "failed")


async def _looked(home: Home, waiting: Waiting, answer: Answer) -> str:
    """The reconciler has this answer."""
    _, attempt = await attempts.read(home.services, waiting.job, waiting.attempt)
    assert attempt
    await home.services.db.write(lambda tx: keep_look(tx, attempt, waiting.request_id, answer))
    found: list[dict[str, Any]] = home.rows("SELECT id FROM deliveries WHERE attempt = ?", waiting.attempt)
    return str(found[0]["id"])
