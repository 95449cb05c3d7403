"""Not before, not after, and who goes first."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from tests.running import running
from tests.stories.desk import Desk
from tests.waiting import until_blocking


def test_a_job_is_not_sent_before_its_time(desk: Desk) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    job = desk.order(not_before=at.isoformat())
    assert desk.job(job["id"])["status"] == "queued"
    assert desk.ended(job)["status"] == "completed"
    assert desk.posts()[0]["time"] >= at.timestamp()


def test_a_job_that_does_not_end_within_its_deadline_is_cancelled_and_free(desk: Desk) -> None:
    job = desk.ended(desk.order("[[never]]", deadline_seconds=1))
    assert (job["status"], job["error"]["code"]) == ("cancelled", "deadline-passed")
    assert desk.balance() == (1000, 0, 0)
    [cancelled] = [e for e in desk.events(job=job["id"]) if e["type"] == "job.cancelled"]
    assert cancelled["data"]["reason"] == "deadline"
    until_blocking(lambda: desk.posts()[0]["state"] == "cancelled", within=10)


def test_what_is_urgent_goes_first(tmp_path: Path) -> None:
    with running(tmp_path, speed=50, DARKROOM_RUNNER="none") as service, Desk.open(service) as desk:
        for priority in ("low", "normal", "high"):
            for n in range(10):
                desk.order(f"<{priority}> {n}", priority=priority)
        service.stop()
        service.start(DARKROOM_RUNNER="inside")
        until_blocking(lambda: len(desk.posts()) == 30, within=20)
        sent = [post["input"]["prompt"] for post in sorted(desk.posts(), key=lambda post: post["number"])]
        ranks = [
            median(n for n, prompt in enumerate(sent) if f"<{priority}>" in prompt)
            for priority in ("high", "normal", "low")
        ]
        assert ranks == sorted(ranks), sent
