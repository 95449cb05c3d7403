"""The same Idempotency-Key is the same job, whatever the network does to the answer."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.inside import violations
from tests.running import Service, running
from tests.stories.desk import Desk, png, problem, taken
from tests.waiting import until_blocking


def test_fifty_at_once_with_one_key_are_one_job(desk: Desk) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: desk.post(key="once"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    desk.ended(answers[0].json())
    assert desk.balance() == (999, 0, 1)
    assert len(desk.posts()) == 1
    assert taken(desk.post(key="once"), 202) == answers[0].json()


def test_a_key_means_one_request_only(desk: Desk) -> None:
    job = taken(desk.post(key="mine"))
    body = problem(desk.post("another picture", key="mine"), 422, "key-reused")
    assert "key" in body["detail"].lower()
    desk.ended(job)
    assert len(desk.posts()) == 1


def test_two_workspaces_may_use_the_same_key(desk: Desk, house: Service) -> None:
    with Desk.open(house) as other:
        assert taken(desk.post(key="same"))["id"] != taken(other.post(key="same"))["id"]


def test_what_was_refused_for_money_does_not_use_up_the_key(house: Service) -> None:
    with Desk.open(house, credits=0) as poor:
        body = problem(poor.post(key="later"), 402, "not-enough-credits")
        assert (body["needed"], body["available"]) == (1, 0)
        problem(poor.post(key="later", input={"num_images": 9}), 422, "invalid-request")
        assert poor.balance() == (0, 0, 0)
        assert poor.events() == []
    with Desk.open(house, credits=1) as modest:
        first = taken(modest.post("first", key="first"))
        problem(modest.post("second", key="second"), 402, "not-enough-credits")
        modest.do("cancel", first["id"])  # and the credit is back
        assert modest.ended(taken(modest.post("second", key="second")))["status"] == "completed"


def test_runs_uploads_and_retries_keep_their_key_too(desk: Desk) -> None:
    def run() -> httpx.Response:
        body = {"jobs": [desk.request("one"), desk.request("two")]}
        return desk.client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": "run"})

    def upload() -> httpx.Response:
        return desk.client.post("/api/v1/uploads", files={"files": ("a.png", png())}, headers={"Idempotency-Key": "up"})

    with ThreadPoolExecutor(8) as pool:
        assert len({taken(answer)["id"] for answer in pool.map(lambda _: run(), range(8))}) == 1
        assert len({taken(answer)["data"][0]["id"] for answer in pool.map(lambda _: upload(), range(8))}) == 1
    assert len(desk.get("assets", kind="upload")["data"]) == 1
    job = desk.ended(desk.order("[[refuse]]"))
    again = [
        taken(desk.client.post(f"/api/v1/jobs/{job['id']}/retry", headers={"Idempotency-Key": "again"}))["id"]
        for _ in range(2)
    ]
    assert again[0] == again[1] != job["id"]
    desk.until(desk.get("runs")["data"][0], "completed")


def test_the_failed_ones_of_a_run_are_made_again_once(desk: Desk) -> None:
    run = desk.until(desk.run("good", "[[refuse]] bad", "[[refuse]] worse"), "completed")

    def again(key: str) -> httpx.Response:
        return desk.client.post(f"/api/v1/runs/{run['id']}/retry-failed", headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: again("once"), range(8)))
    assert [taken(answer, 202)["retried"] for answer in answers] == [2] * 8
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    run = desk.until(run, "completed")
    assert len(desk.posts()) == 5
    late = again("once")
    assert (taken(late, 202)["run"]["jobs"], late.headers["idempotent-replayed"]) == (run["jobs"], "true")
    assert taken(again("anew"), 202)["retried"] == 2


@pytest.mark.parametrize("point", ["accept.accepted:before-commit", "accept.accepted:after-commit"])
def test_a_crash_while_accepting_leaves_one_job_or_none(tmp_path: Path, point: str) -> None:
    with running(tmp_path, speed=50, start=False) as service:
        service.start(DARKROOM_FAILPOINT=point)
        with Desk.open(service) as desk:
            with pytest.raises(httpx.TransportError):
                desk.post(key="through thick and thin")
            until_blocking(lambda: not service.alive)
            service.start(DARKROOM_FAILPOINT="")
            before = desk.get("jobs")["data"]
            assert len(before) == (1 if "after" in point else 0)
            job = taken(desk.post(key="through thick and thin"), 202)
            assert [job["id"]] == [each["id"] for each in before or [job]]
            assert desk.ended(job)["status"] == "completed"
            assert desk.balance() == (999, 0, 1)
            assert len(desk.posts()) == 1
        assert service.settings
        assert violations(service.settings) == []
