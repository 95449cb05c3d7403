"""A database that is older than what happened: what fal knows of is not bought again, and what belongs to nobody is
named."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from app.core.ids import derived
from app.jobs.attempts import same_arguments
from app.jobs.checks import purchases_are_known
from app.jobs.model import AttemptRow, AttemptStatus, JobRow
from app.jobs.restored import as_listed, note_purchases, note_restore, perhaps_sent
from app.ports import ListedRequest
from app.store.write import Tx
from tests.home import ORDER, Home, Waiting
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_PICTURE = derived("asset", "a picture")


async def _as_it_was_before(home: Home, waiting: Waiting) -> None:
    """The job's rows as a backup from before it was sent has them."""

    def put_back(tx: Tx) -> None:
        for statement in (
            "UPDATE jobs SET status = 'queued', attempt = 0 WHERE id = :job",
            "DELETE FROM attempts WHERE job = :job",
            "DELETE FROM tasks WHERE kind = 'jobs.reconcile' AND json_extract(payload, '$.job') = :job",
            "UPDATE tasks SET state = 'ready' WHERE kind = 'jobs.dispatch' AND json_extract(payload, '$.job') = :job",
        ):
            tx.execute(text(statement), {"job": waiting.job})

    await home.services.db.write(put_back)


async def _change(home: Home, statement: str, waiting: Waiting, **values: Any) -> None:
    given = {"job": waiting.job, "attempt": waiting.attempt, **values}
    used = {name: value for name, value in given.items() if f":{name}" in statement}
    await home.services.db.write(lambda tx: tx.execute(text(statement), used))


async def test_a_job_that_was_sent_since_the_backup_is_found_and_not_bought_again(home: Home) -> None:
    waiting = await home.submitted()
    await _as_it_was_before(home, waiting)
    bought = len(home.fal.webhooks)

    await _restored(home)
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] == "submitting")
    assert (await home.send(home.letter(waiting))).status_code == 200  # the attempt is the one it was

    assert (await home.ended(waiting.job))["status"] == "completed"
    assert len(home.fal.webhooks) == bought


async def test_what_was_sent_long_ago_is_found_too(home: Home) -> None:
    """The attempt is made anew, hours after it was sent; the job is as old as it was."""
    waiting = await home.submitted()
    [sent] = home.rows("SELECT arguments FROM attempts WHERE id = ?", waiting.attempt)
    await _as_it_was_before(home, waiting)
    now = home.services.clock.now()
    await _change(home, "UPDATE jobs SET created_at = :then WHERE id = :job", waiting, then=now - timedelta(hours=9))
    listed = {"request_id": waiting.request_id, "json_input": json.loads(sent["arguments"])}
    home.fal.listing = [listed | {"sent_at": (now - timedelta(hours=8)).isoformat()}]
    bought = len(home.fal.webhooks)

    await _restored(home)
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] == "submitting")
    await _change(home, "UPDATE tasks SET due_at = created_at WHERE key = 'jobs.reconcile:' || :attempt", waiting)
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] in ("submitted", "running"))

    [found] = home.rows("SELECT request_id FROM attempts WHERE id = ?", waiting.attempt)
    assert found["request_id"] == waiting.request_id
    assert len(home.fal.webhooks) == bought


async def test_our_own_pictures_may_have_been_elsewhere(home: Home) -> None:
    def is_found(seed: int | None, *at: str, asked_seed: str | None = None) -> bool:
        asked = {"prompt": "a door"} | ({"seed": asked_seed} if asked_seed else {})
        job: Any = SimpleNamespace(input=asked, reference_images=[_PICTURE, "https://example.com/b.png"])
        arguments = {"prompt": "a door", "seed": 7, "image_urls": ["https://fal/new.png", "https://example.com/b.png"]}
        attempt: Any = SimpleNamespace(endpoint="fal-ai/bytedance/seedream/v4/edit", arguments=arguments)
        theirs = {"prompt": "a door", "seed": seed, "image_urls": list(at)}
        return same_arguments(as_listed(home.services, job, attempt), theirs)

    assert is_found(7, "https://fal/old.png", "https://example.com/b.png")
    assert not is_found(8, "https://fal/old.png", "https://example.com/b.png")
    assert not is_found(7, "https://fal/old.png", "https://example.com/c.png")
    assert not is_found(7, "https://fal/old.png")
    assert not is_found(7, "https://fal/old.png", "https://example.com/b.png", asked_seed="7")  # as others may have
    assert is_found(7, "https://fal/new.png", "https://example.com/b.png", asked_seed="7")


async def test_what_was_not_sent_says_nothing_of_fal(home: Home) -> None:
    waiting = await home.submitted()
    await _as_it_was_before(home, waiting)
    await _restored(home)
    standing, counted = home.services.standing, _unanswered(home)
    standing.unsent = 2
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] == "submitting")

    assert (standing.unsent, _unanswered(home)) == (2, counted)
    standing.unsent = 0


def _unanswered(home: Home) -> float | None:
    return home.services.metrics.registry.get_sample_value("darkroom_attempts_total", {"fate": "unanswered"})


async def test_what_begins_later_cannot_have_been_sent(home: Home) -> None:
    async with home.client() as web:
        begins = (home.services.clock.now() + timedelta(hours=1)).isoformat()
        answer = await web.post("/api/v1/jobs", json={**ORDER, "not_before": begins})
    await _restored(home)
    newer = await home.order()

    async with home.services.db.read() as session:
        for job in (answer.json()["id"], newer):
            assert not await perhaps_sent(session, await session.get_one(JobRow, job), ())


async def test_whatever_a_job_of_before_sends_next_is_doubted_until_one_left_no_trace(home: Home) -> None:
    """A paused run is resumed, a request under way fails: its next one may have been sent in the lost time too."""
    waiting = await home.submitted()
    await _restored(home)
    async with home.services.db.read() as session:
        job, attempt = await session.get_one(JobRow, waiting.job), await session.get_one(AttemptRow, waiting.attempt)
        assert await perhaps_sent(session, job, [attempt])
        of_before = attempt.model_copy(update={"status": AttemptStatus.ABANDONED})
        assert await perhaps_sent(session, job, [of_before])
        made_since = of_before.model_copy(update={"created_at": home.services.clock.now()})
        assert not await perhaps_sent(session, job, [of_before, made_since])


async def test_said_again_of_the_same_backup_nothing_newer_is_doubted(home: Home) -> None:
    backup = await _restored(home)
    newer = await home.order()
    for again, doubted in ((backup, False), (backup + timedelta(seconds=1), True)):
        await home.services.db.write(partial(note_restore, backup=again))
        async with home.services.db.read() as session:
            assert await perhaps_sent(session, await session.get_one(JobRow, newer), ()) is doubted


async def _restored(home: Home) -> datetime:
    """From a backup of this moment."""
    backup = home.services.clock.now()
    await home.services.db.write(partial(note_restore, backup=backup))
    return backup


@pytest.mark.parametrize("age", [0, 3600])
async def test_a_completion_of_a_lost_attempt_is_asked_for_again_and_named(home: Home, age: int) -> None:
    waiting = await home.submitted()
    letter = home.letter(waiting, at=-age)
    await _as_it_was_before(home, waiting)
    home.services.standing.refusals["unknown"] = home.services.rules.refusals_a_minute  # others came in this minute

    answer = await home.send(letter)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    notes = (await purchases_are_known(home.services)).notes
    assert [note for note in notes if waiting.attempt in note and waiting.request_id in note]


async def test_what_fal_lists_and_nobody_claims_is_named_until_somebody_does(home: Home) -> None:
    waiting = await home.submitted()
    now = home.services.clock.now()
    listed = [
        ListedRequest(request, "fal-ai/flux/schnell", now, None, None, {}, None)
        for request in (waiting.request_id, "req-of-nobody")
    ]

    assert await home.services.db.write(lambda tx: note_purchases(tx, listed)) == 1
    assert await home.services.db.write(lambda tx: note_purchases(tx, listed)) == 1

    notes = (await purchases_are_known(home.services)).notes
    assert len([note for note in notes if "req-of-nobody" in note]) == 1
    assert not [note for note in notes if waiting.request_id in note]
