"""A laptop that fal cannot call: no webhook is registered, and everything ends all the same."""

from pathlib import Path

from tests.inside import violations
from tests.running import running
from tests.stories.desk import Desk


def test_without_webhooks_everything_ends_as_well(tmp_path: Path) -> None:
    with running(tmp_path, speed=50, DARKROOM_WEBHOOKS="off") as service:
        with Desk.open(service) as desk:
            run = desk.run("one", "two", "[[fail:1]] three", "[[refuse]]", "[[chaos:answer_cut]]")
            run = desk.until(run, "completed", within=40)
            assert run["counts"] == {"total": 5, "completed": 4, "failed": 1, "cancelled": 0}
            assert {post["webhook"] for post in desk.posts()} == {None}
            assert len(desk.posts()) == 6
            assert {d["source"] for d in desk.get("deliveries")["data"]} == {"poll"}
            assert desk.balance() == (996, 0, 4)
            costs = [desk.attempts({"id": job})[-1]["cost_micro_usd"] for job in run["jobs"]]
            assert sorted(cost for cost in costs if cost) == sorted(
                p["cost_micro_usd"] for p in desk.posts() if p["units"]
            )
        assert service.settings
        assert violations(service.settings) == []
