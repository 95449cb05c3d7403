"""Bad post: what fal's notices do to a job when they come early, late, twice, mutilated or never."""

import json
from typing import Any

import pytest

from app.__main__ import build
from tests.stories.desk import Desk, operators, sandbox, taken
from tests.waiting import until_blocking

CHAOS = "early lost duplicate late tampered stranger stale null_payload answer_cut storm_429 slow_cdn truncated"


@pytest.mark.parametrize("chaos", CHAOS.split())
def test_whatever_the_post_does_the_job_ends_once_and_is_paid_once(desk: Desk, chaos: str) -> None:
    job = desk.ended(desk.order(f"[[chaos:{chaos}]]"), within=40)
    assert job["status"] == "completed", job["error"]
    assert len(job["assets"]) == 1
    assert len(desk.posts()) == 1
    assert desk.bought(job) == 1
    assert desk.balance() == (999, 0, 1)
    for kind in ("job.generated", "job.completed"):
        assert desk.told(job).count(kind) == 1


def test_a_notice_before_the_answer_is_taken_in(desk: Desk) -> None:
    job = desk.ended(desk.order("[[chaos:early]]"))
    told = [kind for kind in desk.told(job) if kind not in ("job.started", "job.progress")]
    assert told[:2] == ["job.queued", "job.submitting"]
    assert told[-2:] == ["job.generated", "job.completed"]
    [attempt] = desk.attempts(job)
    assert (attempt["request_id"], attempt["extra"]) == (desk.posts()[0]["request_id"], 0)


def test_a_cut_answer_leaves_the_job_waiting_and_is_never_bought_twice(desk: Desk) -> None:
    sandbox(desk.service, "POST", "/_knobs", list_delay=1e9)  # and fal's list does not show it yet
    try:
        job = desk.order("[[chaos:answer_cut]] [[chaos:lost]]")
        until_blocking(lambda: desk.posts() and desk.posts()[0]["state"] == "completed")
        until_blocking(lambda: desk.attempts(job)[0]["looks"] >= 2)
        assert desk.job(job["id"])["status"] == "submitting"
        assert desk.balance() == (999, 1, 0)
    finally:
        sandbox(desk.service, "POST", "/_knobs", list_delay=0.0)
    assert desk.ended(job)["status"] == "completed"
    assert len(desk.posts()) == 1
    assert desk.balance() == (999, 0, 1)


def test_operators_see_what_was_refused_and_nobody_else_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = desk.ended(desk.order("[[chaos:tampered]]"))
    [attempt] = desk.attempts(job)
    assert desk.client.get("/api/v1/deliveries/refused").status_code == 403
    with operators(desk.service) as client:

        def kept(**query: int | str) -> dict[str, Any]:
            return taken(client.get("/api/v1/deliveries/refused", params=query))

        listed = kept(limit=100)["data"]
        [refusal] = [each for each in listed if each["attempt"] == attempt["id"]]
        assert refusal["verdict"] == "forged"
        client.post(f"/api/webhooks/fal/{attempt['id']}/x")
        first = kept(limit=1)
        second = kept(limit=1, cursor=first["next_cursor"])
        assert first["data"][0]["verdict"] == "malformed"
        assert second["data"] == listed[:1]
    assert desk.service.settings
    monkeypatch.setenv("DARKROOM_DATA", str(desk.service.settings.data))
    assert build()(["refused", "--json"], result_action="return_value") == 0
    assert refusal in json.loads(capsys.readouterr().out)
    assert build()(["refused"], result_action="return_value") == 0
    assert refusal["attempt"] in capsys.readouterr().out


def test_the_inbox_shows_what_came_and_working_on_it_again_changes_nothing(desk: Desk) -> None:
    """Of the three calls each that fal signed in another second is kept, and a look that comes between is too: they
    all are deliveries, and exactly one of them has the effect."""
    job = desk.ended(desk.order("[[chaos:duplicate]]"))

    def kept() -> list[dict[str, Any]]:
        deliveries: list[dict[str, Any]] = desk.get("deliveries", job=job["id"])["data"]
        return deliveries

    until_blocking(lambda: any(each["source"] == "webhook" for each in kept()))
    until_blocking(lambda: all(each["effect"] for each in kept()))
    assert {each["request_id"] for each in kept()} == {desk.posts()[0]["request_id"]}
    [delivery] = [each for each in kept() if each["effect"] != "repeated"]
    assert delivery["effect"] == "ingested"

    def this() -> dict[str, Any]:
        return next(each for each in kept() if each["id"] == delivery["id"])

    before = (desk.job(job["id"]), desk.balance(), desk.told(job))
    path = f"/api/v1/deliveries/{delivery['id']}/redrive"
    assert desk.client.post(path).status_code == 403
    with operators(desk.service) as client:
        dry = taken(client.post(path, params={"dry_run": "true"}), 202)
        assert (dry["dry_run"], dry["changes"], dry["decision"]) == (True, False, "nothing: the job is completed")
        assert this() == delivery
        assert not taken(client.post(path), 202)["changes"]
    until_blocking(lambda: this()["redriven_at"])
    assert this()["effect"] == "ingested"  # what came of it first
    assert (desk.job(job["id"]), desk.balance(), desk.told(job)) == before
