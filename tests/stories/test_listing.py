"""Finding one's jobs again."""

from datetime import UTC, datetime, timedelta

from tests.stories.desk import LATER, Desk


def test_jobs_are_paged_newest_first_without_gap_or_double(desk: Desk) -> None:
    made = [desk.order(f"page {n}", not_before=LATER)["id"] for n in range(25)]
    seen: list[str] = []
    query: dict[str, object] = {"limit": 10}
    while True:
        page = desk.get("jobs", **query)
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
        desk.do("cancel", made.pop())  # what happens meanwhile moves nothing
        desk.order("newer", not_before=LATER)
    assert seen[-20:] == [job["id"] for job in desk.get("jobs", limit=100)["data"]][-20:]
    assert len(seen) == len(set(seen)) == 25


def test_jobs_are_found_by_state_model_run_words_and_metadata(desk: Desk) -> None:
    done = desk.ended(desk.order("a Fox in 100% snow", metadata={"order": "17", "side": "left:top"}))
    bad = desk.ended(desk.order("[[refuse]]", metadata={"order": "17"}))
    waits = desk.order("an owl", not_before=LATER, metadata={"order": "18"})
    run = desk.until(desk.run("in a run"), "completed")
    other = desk.order("other model", not_before=LATER, model="fal-ai/flux/dev")

    def found(**query: object) -> list[str]:
        return [job["id"] for job in desk.get("jobs", **query)["data"]]

    assert found(status="completed") == [run["jobs"][0], done["id"]]
    assert found(status=["failed", "queued"]) == [other["id"], waits["id"], bad["id"]]
    assert found(model="fal-ai/flux/dev") == [other["id"]]
    assert found(run=run["id"]) == run["jobs"]
    assert found(text="fox") == [done["id"]]
    assert found(text="100%") == [done["id"]]
    assert found(text="_") == found(text="prompt") == []  # names of fields are nobody's words
    gull = desk.order('eine Möwe sagt "hallo"', not_before=LATER)
    assert found(text="möwe") == found(text='"HALLO"') == [gull["id"]]
    assert found(metadata="order:17") == [bad["id"], done["id"]]
    assert found(metadata=["order:17", "side:left:top"]) == [done["id"]]
    assert found(metadata="order:19") == []
    assert found(status="completed", text="run") == run["jobs"]


def test_jobs_are_found_by_time(desk: Desk) -> None:
    first = desk.order(not_before=LATER)
    second = desk.order(not_before=LATER)
    between = second["created_at"]
    assert [job["id"] for job in desk.get("jobs", created_before=between)["data"]] == [first["id"]]
    assert [job["id"] for job in desk.get("jobs", created_after=between)["data"]] == [second["id"]]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert desk.get("jobs", created_after=tomorrow)["data"] == []
