"""A genuine completion may come in time, twice, at once, early, late or out of order: the end is the same (promise
I16). About 10 s."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.home import Home, Waiting
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_in_time(home: Home) -> None:
    waiting = await home.submitted()

    assert (await home.send(home.letter(waiting))).text == "accepted"

    await _ends_well(home, waiting)
    assert _effects(home, waiting) == ["ingested"]


async def test_three_times_one_after_the_other(home: Home) -> None:
    waiting = await home.submitted()
    letter = home.letter(waiting)

    answers = [(await home.send(letter)).text for _ in range(3)]

    assert answers == ["accepted", "repeated", "repeated"]
    await _ends_well(home, waiting)
    assert (await home.send(letter)).text == "repeated"
    await _ends_well(home, waiting)


async def test_twenty_times_at_once(home: Home) -> None:
    waiting = await home.submitted()
    letter = home.letter(waiting)

    answers = await asyncio.gather(*(home.send(letter) for _ in range(20)))

    assert sorted(answer.text for answer in answers) == ["accepted", *["repeated"] * 19]
    await _ends_well(home, waiting)


async def test_signed_anew_each_time(home: Home) -> None:
    """Whether fal signs a repeat again is not documented; each is then a delivery of its own."""
    waiting = await home.submitted()

    answers = await asyncio.gather(*(home.send(home.letter(waiting, at=at)) for at in (-2, -1, 0)))

    assert [answer.text for answer in answers] == ["accepted"] * 3
    await _ends_well(home, waiting)
    assert sorted(_effects(home, waiting)) == ["ingested", "repeated", "repeated"]


async def test_after_a_repeat_inside_fal(home: Home) -> None:
    """The header may then name the gateway's request, the body names both."""
    waiting = await home.submitted()
    payload = {**home.fal.payload(waiting.request_id), "gateway_request_id": "gw-2"}

    answer = await home.send(home.letter(waiting, payload=payload, about="gw-2"))

    assert answer.text == "accepted"
    await _ends_well(home, waiting)
    [attempt] = home.rows("SELECT request_id FROM attempts WHERE id = ?", waiting.attempt)
    assert attempt["request_id"] == waiting.request_id


async def test_before_the_submission_was_answered(home: Home) -> None:
    home.fal.answering.clear()
    async with home.working():
        waiting = await home.submitted(request_known=False)
        [attempt] = home.rows("SELECT request_id FROM attempts WHERE id = ?", waiting.attempt)
        assert attempt["request_id"] is None
        assert (await home.send(home.letter(waiting))).text == "accepted"
        home.fal.answering.set()

    await _ends_well(home, waiting)


async def test_after_the_job_was_cancelled(home: Home) -> None:
    waiting = await home.submitted()
    async with home.client() as web:
        assert (await web.post(f"/api/v1/jobs/{waiting.job}/cancel")).json()["status"] == "cancelled"
    before = home.job(waiting.job)

    assert (await home.send(home.letter(waiting))).text == "accepted"
    async with home.working():
        pass

    assert home.job(waiting.job) == before
    assert _effects(home, waiting) == ["late"]
    assert home.rows("SELECT 1 FROM assets WHERE job = ?", waiting.job) == []
    assert _settled(home, waiting) == ["void"]


async def test_another_execution_is_counted_and_changes_nothing(home: Home) -> None:
    waiting = await home.submitted()
    assert (await home.send(home.letter(waiting))).text == "accepted"
    await _ends_well(home, waiting)
    before = home.job(waiting.job)

    assert (await home.send(home.fal.letter(waiting.webhook, "another-execution"))).text == "accepted"
    async with home.working():
        pass

    assert home.job(waiting.job) == before
    assert sorted(_effects(home, waiting)) == ["extra", "ingested"]


async def test_another_execution_is_counted_once_however_often_it_is_delivered(home: Home) -> None:
    waiting, before = await home.submitted(), _extra(home)
    await home.send(home.letter(waiting))
    await _ends_well(home, waiting)

    for at in (-2, -1, 0):
        assert (await home.send(home.fal.letter(waiting.webhook, "yet-another", at=at))).text == "accepted"
        async with home.working():
            pass

    assert sorted(_effects(home, waiting)) == ["extra", "ingested", "repeated", "repeated"]
    assert home.rows("SELECT extra FROM attempts WHERE id = ?", waiting.attempt) == [{"extra": 1}]
    assert _extra(home) == before + 1


async def test_another_execution_is_counted_when_it_is_the_one_whose_answer_comes_late(home: Home) -> None:
    before = _extra(home)
    home.fal.answering.clear()
    async with home.working():
        waiting = await home.submitted(request_known=False)
        assert (await home.send(home.fal.letter(waiting.webhook, "the-first-to-come"))).text == "accepted"
        await until(lambda: _effects(home, waiting) == ["ingested"])
        home.fal.answering.set()
    assert home.rows("SELECT extra FROM attempts WHERE id = ?", waiting.attempt) == [{"extra": 1}]
    assert (await home.send(home.letter(waiting))).text == "accepted"

    await _ends_well(home, waiting)

    assert sorted(_effects(home, waiting)) == ["ingested", "repeated"]
    assert home.rows("SELECT extra FROM attempts WHERE id = ?", waiting.attempt) == [{"extra": 1}]
    assert _extra(home) == before + 1


async def test_success_and_failure_out_of_order(home: Home) -> None:
    """Fal says one thing and then the other: the first one counts, and what it settled stays settled."""
    waiting = await home.submitted()
    refused = {"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation"}]}
    failure = {"request_id": waiting.request_id, "status": "ERROR", "error": "422", "payload": refused}

    assert (await home.send(home.letter(waiting, payload=failure, at=-1))).text == "accepted"
    job = await home.ended(waiting.job)
    assert (await home.send(home.letter(waiting))).text == "accepted"
    async with home.working():
        pass

    assert job["status"] == "failed"
    assert home.job(waiting.job) == job
    assert sorted(_effects(home, waiting)) == ["ingested", "repeated"]
    assert _settled(home, waiting) == ["void"]


@pytest.mark.parametrize("text", ["\0", "\ud800", "\ud83d\ude00", "a\0b\udfff", "\\u0000"])
async def test_whatever_text_fal_puts_into_it(home: Home, text: str) -> None:
    waiting = await home.submitted()
    payload = home.fal.payload(waiting.request_id)
    payload["payload"] |= {"description": text, "prompt": text}
    body = json.dumps(payload).encode()

    assert (await home.send(home.letter(waiting, body=body))).text == "accepted"

    await _ends_well(home, waiting)


async def _ends_well(home: Home, waiting: Waiting) -> None:
    """One picture, one settlement, one of each event, in order."""
    job = await home.ended(waiting.job)
    events = home.rows("SELECT type FROM events WHERE job = ? AND type LIKE 'job.%' ORDER BY seq", waiting.job)
    told = [event["type"] for event in events if event["type"] not in {"job.progress", "job.started"}]
    assert (job["status"], job["error"]) == ("completed", None)
    assert told[:2] == ["job.queued", "job.submitting"]
    assert told[-2:] == ["job.generated", "job.completed"]
    assert told[2:-2] in ([], ["job.submitted"])
    assert len(home.rows("SELECT 1 FROM assets WHERE job = ?", waiting.job)) == 1
    assert _settled(home, waiting) == ["post"]


def _settled(home: Home, waiting: Waiting) -> list[Any]:
    return [
        row["kind"]
        for row in home.rows("SELECT kind FROM transfers WHERE owner = ? AND kind IN ('post', 'void')", waiting.job)
    ]


def _extra(home: Home) -> float:
    return home.services.metrics.registry.get_sample_value("darkroom_provider_extra_total") or 0


def _effects(home: Home, waiting: Waiting) -> list[Any]:
    return [row["effect"] for row in home.rows("SELECT effect FROM deliveries WHERE attempt = ?", waiting.attempt)]
