"""A paid picture is not given up because fal says once that it does not know the result: it is asked as often as the
reconciler would ask."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs import attempts
from app.jobs.deliveries import keep_look
from app.jobs.redrive import redrive
from app.ports import Answer
from app.rules import Rules
from tests.home import Home, Waiting, home_in

ENOUGH = Rules.missing_believed_after


@pytest.mark.parametrize("found_by", ["a letter that holds no result", "a look"])
@pytest.mark.parametrize("missing", [ENOUGH - 1, ENOUGH])
async def test_a_result_that_is_missing_is_asked_for_again(missing: int, found_by: str, tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.missing = missing
        waiting = await home.submitted()
        await (_looked if found_by == "a look" else _called)(home, waiting)
        await _asked(home, ENOUGH)
        job = home.job(waiting.job)
        if missing < ENOUGH:
            assert job["status"] == "completed"
        else:
            assert (job["status"], '"gone"' in job["error"]) == ("failed", True)
        assert home.fal.looked_for == ENOUGH


async def test_between_two_questions_some_time_goes_by_and_a_dry_run_says_that_they_will_be_asked(
    tmp_path: Path,
) -> None:
    async with home_in(tmp_path) as home:
        home.fal.missing = 1
        waiting = await home.submitted()
        await _looked(home, waiting)
        [delivery] = home.rows("SELECT id FROM deliveries WHERE attempt = ?", waiting.attempt)
        said = await redrive(home.services, delivery["id"], dry_run=True)
        assert (said.decision, said.changes) == ("ask fal's queue for the result", True)
        await _asked(home, 1)
        [task] = home.rows("SELECT due_at, tries FROM tasks WHERE kind = 'jobs.ingest'")
        assert task["tries"] == 1
        assert home.job(waiting.job)["status"] == "submitted"


async def _called(home: Home, waiting: Waiting) -> None:
    payload = home.fal.payload(waiting.request_id) | {"payload": None, "payload_error": "too large"}
    assert (await home.send(home.letter(waiting, payload=payload))).status_code == 200


async def _looked(home: Home, waiting: Waiting) -> None:
    """The reconciler has been told that there is no such request."""
    _, attempt = await attempts.read(home.services, waiting.job, waiting.attempt)
    assert attempt
    nothing: Any = Answer(404, {"status": "NOT_FOUND"})
    await home.services.db.write(lambda tx: keep_look(tx, attempt, waiting.request_id, nothing))


async def _asked(home: Home, times: int) -> None:
    """As often as that it was time to ask."""
    for _ in range(times):
        async with home.working():
            pass
        home.services.clock.agree_with(home.services.clock.now() + timedelta(minutes=1))
