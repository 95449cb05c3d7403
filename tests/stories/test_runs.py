"""Ten pictures with one purpose and one budget: paused, resumed, cancelled, retried, and paid for as agreed."""

from datetime import datetime

import pytest

from tests.stories.desk import LATER, Desk, follow, pointers, problem, taken
from tests.waiting import until_blocking

TEN = [f"view {n}" for n in range(10)]


def test_a_run_of_ten_counts_to_ten(desk: Desk) -> None:
    run = desk.run(*TEN, name="ten views", ceiling=10)
    assert (run["status"], run["counts"]["total"], len(run["jobs"])) == ("running", 10, 10)
    heard = follow(desk.client, f"/api/v1/runs/{run['id']}/stream?after=0")
    assert heard[-1].type == "run.completed"
    progress = [h.json["data"]["done"] for h in heard if h.type == "run.progress"]
    assert progress == list(range(1, 11))
    run = desk.get(f"runs/{run['id']}")
    assert run["counts"] == {"total": 10, "completed": 10, "failed": 0, "cancelled": 0}
    assert run["credits"] == {"held": 0, "posted": 10}
    assert desk.balance() == (990, 0, 10)
    assert len(desk.posts()) == 10
    assert [desk.job(job)["slot"] for job in run["jobs"]] == list(range(10))


def test_a_run_above_its_ceiling_is_not_begun(desk: Desk) -> None:
    body = {"jobs": [desk.request(words) for words in TEN], "ceiling": 9}
    refused = problem(desk.client.post("/api/v1/runs", json=body), 422, "invalid-request")
    assert pointers(refused) == ["/body/ceiling"]
    assert "10 credits" in refused["detail"]
    assert desk.balance() == (1000, 0, 0)
    assert desk.get("runs")["data"] == desk.get("jobs")["data"] == []


def test_what_a_run_says_of_retries_and_time_holds_for_its_jobs_unless_they_say_it_themselves(desk: Desk) -> None:
    jobs = [desk.request("one", not_before=LATER), desk.request("two", max_attempts=5, deadline_seconds=60)]
    body = {"jobs": jobs, "max_attempts": 1, "deadline_seconds": 3_600}
    run = taken(desk.client.post("/api/v1/runs", json=body), 202)
    first, second = (desk.job(job) for job in run["jobs"])
    assert [first["max_attempts"], second["max_attempts"]] == [1, 5]
    assert seconds_between(first["not_before"], first["deadline_at"]) == 3_600
    assert seconds_between(second["created_at"], second["deadline_at"]) == 60
    failed = desk.until(desk.run("[[fail]] once", max_attempts=1), "completed")
    assert [failed["counts"]["failed"], desk.job(failed["jobs"][0])["attempt"]] == [1, 1]
    refused = problem(desk.client.post("/api/v1/runs", json={**body, "max_attempts": 11}), 422, "invalid-request")
    assert pointers(refused) == ["/body/max_attempts"]


def test_a_fault_in_one_job_refuses_the_whole_run_and_names_it(desk: Desk) -> None:
    body = {"jobs": [desk.request(), {**desk.request(), "input": {}}, {**desk.request(), "model": "no-such"}]}
    refused = problem(desk.client.post("/api/v1/runs", json=body), 422, "invalid-request")
    assert pointers(refused) == ["/body/jobs/1/input/prompt", "/body/jobs/2/model"]
    assert desk.balance() == (1000, 0, 0)


def test_a_paused_run_sends_nothing_more_until_it_is_resumed(desk: Desk) -> None:
    later = LATER
    body = {"jobs": [desk.request("[[never]]"), *(desk.request(f"later {n}", not_before=later) for n in range(3))]}
    answer = desk.client.post("/api/v1/runs", json=body)
    run = answer.json()
    desk.until(desk.job(run["jobs"][0]), "submitted")
    assert desk.do("pause", run["id"])["status"] == "paused"
    assert desk.do("pause", run["id"])["status"] == "paused"  # twice is once
    desk.do("cancel", run["jobs"][0])
    assert desk.do("resume", run["id"])["status"] == "running"
    assert {desk.job(job)["status"] for job in run["jobs"][1:]} == {"queued"}
    assert desk.do("cancel", run["id"])["status"] == "cancelled"
    until_blocking(lambda: desk.balance() == (1000, 0, 0))
    problem(desk.client.post(f"/api/v1/runs/{run['id']}/resume"), 409, "illegal-move")
    assert len(desk.posts()) == 1


def test_what_is_queued_when_the_run_is_paused_waits_and_then_goes_on(desk: Desk) -> None:
    run = desk.run(*(f"{words} [[slow:20]]" for words in TEN))
    desk.do("pause", run["id"])
    desk.do("resume", run["id"])
    assert desk.until(run, "completed")["counts"]["completed"] == 10
    assert len(desk.posts()) == 10


def test_the_failed_ones_are_made_again_in_their_slots(desk: Desk) -> None:
    run = desk.until(desk.run("good", "[[refuse]] bad", "[[refuse]] worse"), "completed")
    assert run["counts"] == {"total": 3, "completed": 1, "failed": 2, "cancelled": 0}
    retried = desk.do("retry-failed", run["id"], 202)
    assert retried["retried"] == 2
    assert retried["run"]["status"] == "running"
    new = retried["run"]["jobs"]
    assert new[0] == run["jobs"][0]
    assert [desk.job(job)["retry_of"] for job in new[1:]] == run["jobs"][1:]
    run = desk.until(run, "completed")
    assert run["counts"] == {"total": 3, "completed": 1, "failed": 2, "cancelled": 0}
    assert run["jobs"] == new
    assert desk.balance() == (999, 0, 1)
    assert len(desk.posts()) == 5
    kinds = [
        e["type"] for e in desk.events(run=run["id"]) if e["type"].startswith("run.") and "progress" not in e["type"]
    ]
    assert kinds == ["run.created", "run.completed", "run.resumed", "run.completed"]


@pytest.mark.parametrize("move", ["resume", "pause", "cancel"])
def test_a_run_that_has_ended_says_so_and_what_can_still_be_done(desk: Desk, move: str) -> None:
    run = desk.until(desk.run("one"), "completed")
    answer = desk.client.post(f"/api/v1/runs/{run['id']}/{move}")
    assert (answer.status_code, answer.json()["code"], answer.json()["state"]) == (409, "illegal-move", "completed")
    assert answer.json()["detail"].startswith("This run has ended: it is completed. `retry-failed` makes")


def test_a_retry_of_nothing_changes_nothing(desk: Desk) -> None:
    run = desk.until(desk.run("one"), "completed")
    answer = desk.client.post(f"/api/v1/runs/{run['id']}/retry-failed")
    assert (answer.status_code, answer.json()["retried"]) == (202, 0)
    assert desk.get(f"runs/{run['id']}") == run


def test_all_or_nothing_is_paid_as_a_whole(desk: Desk) -> None:
    run = desk.run("one", "two", policy="all_or_nothing")
    assert run["credits"] == {"held": 2, "posted": 0}
    assert desk.balance() == (998, 2, 0)
    assert desk.until(run, "completed")["credits"] == {"held": 0, "posted": 2}
    assert desk.balance() == (998, 0, 2)


def test_all_or_nothing_fails_as_a_whole_and_costs_nothing(desk: Desk) -> None:
    run = desk.run("good", "[[refuse]] bad", "[[never]]", policy="all_or_nothing")
    run = desk.until(run, "failed")
    assert run["credits"] == {"held": 0, "posted": 0}
    until_blocking(lambda: {desk.job(job)["status"] for job in run["jobs"]} <= {"completed", "failed", "cancelled"})
    assert desk.balance() == (1000, 0, 0)
    [failed] = [e for e in desk.events(run=run["id"]) if e["type"] == "run.failed"]
    assert failed["data"]["code"] == "content-refused"
    assert failed["data"]["job"] == run["jobs"][1]


def test_runs_are_listed_newest_first(desk: Desk) -> None:
    runs = [desk.until(desk.run("one", name=name), "completed")["id"] for name in ("a", "b", "c")]
    assert [run["id"] for run in desk.get("runs")["data"]] == runs[::-1]
    page = desk.get("runs", limit=2, status="completed")
    assert page["has_more"]
    assert [run["id"] for run in desk.get("runs", limit=2, cursor=page["next_cursor"])["data"]] == runs[:1]


def seconds_between(one: str, other: str) -> int:
    return round((datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds())
