"""A job that kills whoever works on it: set aside after three deaths, while the others go on."""

from pathlib import Path

from tests.inside import violations
from tests.running import Program, running
from tests.stories.desk import Desk, operators
from tests.waiting import until_blocking


def test_a_job_that_kills_its_worker_three_times_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    with running(tmp_path, speed=50, start=False) as service:
        service.start(DARKROOM_FAILPOINT="Fetcher.fetch:after")
        with Desk.open(service) as desk:
            others = [desk.order(f"innocent {n} [[slow:600]]") for n in range(3)]
            poison = desk.order("poison")
            for _ in range(2):
                until_blocking(lambda: not service.alive, within=20)
                Program.start(service)
            until_blocking(lambda: not service.alive, within=20)
            service.start(DARKROOM_FAILPOINT="")
            poison = desk.ended(poison)
            assert (poison["status"], poison["error"]["code"]) == ("failed", "poisoned")
            assert [desk.ended(job)["status"] for job in others] == ["completed"] * 3
            assert desk.balance() == (997, 0, 3)
            assert len(desk.posts()) == 4
            assert desk.ended(desk.order("after it"))["status"] == "completed"
            with operators(service) as client:
                assert client.get("/readyz").status_code == 200
        assert service.settings
        assert violations(service.settings) == []
