"""Making a failed or cancelled picture again: a new job with credits of its own."""

from tests.stories.desk import LATER, Desk, problem, taken


def test_a_failed_job_is_made_again_as_a_new_one(desk: Desk) -> None:
    failed = desk.ended(desk.order("[[fail:1]]", max_attempts=1, metadata={"order": "17"}))
    assert failed["status"] == "failed"
    answer = desk.client.post(f"/api/v1/jobs/{failed['id']}/retry")
    again = taken(answer, 202)
    assert answer.headers["location"] == again["urls"]["self"]
    assert (again["retry_of"], again["metadata"], again["input"]) == (failed["id"], {"order": "17"}, failed["input"])
    assert desk.ended(again)["status"] == "completed"
    assert desk.job(failed["id"])["status"] == "failed"  # final is final
    assert desk.balance() == (999, 0, 1)
    assert len(desk.posts()) == 2


def test_a_cancelled_job_is_made_again(desk: Desk) -> None:
    job = desk.until(desk.order(not_before=LATER), "queued")
    desk.do("cancel", job["id"])
    again = desk.do("retry", job["id"], 202)
    assert again["not_before"] is None
    assert desk.ended(again)["status"] == "completed"


def test_only_what_came_to_nothing_is_made_again(desk: Desk) -> None:
    done, waiting = desk.ended(desk.order()), desk.order(not_before=LATER)
    for job in (done, waiting):
        problem(desk.client.post(f"/api/v1/jobs/{job['id']}/retry"), 409, "illegal-move")
    desk.do("cancel", waiting["id"])


def test_a_retry_in_a_run_takes_the_old_ones_slot(desk: Desk) -> None:
    run = desk.until(desk.run("good", "[[fail:1]] unlucky"), "completed")
    assert run["counts"]["completed"] == 2  # three attempts were enough
    run = desk.until(desk.run("good", "[[refuse]]"), "completed")
    new = desk.do("retry", run["jobs"][1], 202)
    assert (new["run"], new["slot"]) == (run["id"], 1)
    assert desk.until(run, "completed")["jobs"] == [run["jobs"][0], new["id"]]
