"""Cancelling, wherever the job is: the hold comes back at once, fal is told to stop, and who was first has won."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stories.desk import LATER, Desk, problem, sandbox
from tests.waiting import until_blocking


@pytest.mark.parametrize(
    ("state", "words", "more"),
    [
        ("queued", "", {"not_before": LATER}),
        ("submitted", "[[never]]", {}),
        ("running", "[[slow:2000]]", {}),
        ("storing", "[[gone]]", {}),
    ],
)
def test_a_job_is_cancelled_where_it_is(desk: Desk, state: str, words: str, more: dict[str, str]) -> None:
    job = desk.until(desk.order(words, **more), state)
    assert desk.balance() == (999, 1, 0)
    cancelled = desk.do("cancel", job["id"])
    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    assert desk.balance() == (1000, 0, 0)
    assert (cancelled["credits"], cancelled["progress"]) == ({"held": 0, "posted": 0}, None)
    assert desk.do("cancel", job["id"])["status"] == "cancelled"  # twice is once
    assert desk.told(job).count("job.cancelled") == 1
    if state == "queued":
        assert desk.posts() == []
    else:
        until_blocking(lambda: desk.posts()[0]["state"] in ("cancelled", "completed"), within=10)
        assert (desk.posts()[0]["state"] == "cancelled") == (state != "storing")


def test_what_was_cancelled_while_its_fate_was_open_is_called_back_when_it_is_found(desk: Desk) -> None:
    sandbox(desk.service, "POST", "/_knobs", list_delay=1e9)
    try:
        job = desk.order("[[never]] [[chaos:answer_cut]]")
        until_blocking(lambda: len(desk.posts()) == 1)
        assert desk.job(job["id"])["status"] == "submitting"
        assert desk.do("cancel", job["id"])["status"] == "cancelled"
    finally:
        sandbox(desk.service, "POST", "/_knobs", list_delay=0.0)
    until_blocking(lambda: desk.posts()[0]["state"] == "cancelled", within=10)
    assert desk.balance() == (1000, 0, 0)


def test_a_job_that_has_ended_cannot_be_cancelled(desk: Desk) -> None:
    for words, status in (("fine", "completed"), ("[[refuse]]", "failed")):
        job = desk.ended(desk.order(words))
        body = problem(desk.client.post(f"/api/v1/jobs/{job['id']}/cancel"), 409, "illegal-move")
        assert status in body["detail"]
        assert desk.job(job["id"]) == job | {"seq": desk.job(job["id"])["seq"]}


def test_between_cancel_and_finish_the_first_wins_and_both_say_so(desk: Desk) -> None:
    dice = random.Random(4)

    def race(n: int) -> bool:
        job = desk.order(f"race {n} [[slow:{dice.uniform(0, 6)}]]")
        until_blocking(lambda: desk.job(job["id"])["status"] != "queued")
        answer = desk.client.post(f"/api/v1/jobs/{job['id']}/cancel")
        ended = desk.ended(job)
        assert answer.status_code == (200 if ended["status"] == "cancelled" else 409)
        assert ended["credits"]["posted"] == (0 if ended["status"] == "cancelled" else 1)
        assert len(ended["assets"]) == (0 if ended["status"] == "cancelled" else 1)
        return bool(ended["status"] == "completed")

    with ThreadPoolExecutor(4) as pool:
        completed = sum(pool.map(race, range(24)))
    assert desk.balance() == (1000 - completed, 0, completed)
    assert len(desk.posts()) == 24


def test_a_picture_that_comes_after_the_cancel_is_kept_as_a_delivery_and_not_charged(desk: Desk) -> None:
    job = desk.until(desk.order("[[slow:30]]"), "running", "submitted")
    until_blocking(lambda: desk.posts()[0]["started"] is not None)
    desk.do("cancel", job["id"])
    until_blocking(lambda: desk.posts()[0]["ended"] is not None)
    if desk.posts()[0]["state"] == "completed":  # more than half done: fal finishes all the same
        path = {"job": job["id"]}  # the webhook and the reconciler may both bring it
        until_blocking(lambda: "late" in [d["effect"] for d in desk.get("deliveries", **path)["data"]], within=20)
    assert desk.job(job["id"])["assets"] == []
    assert desk.balance() == (1000, 0, 0)
