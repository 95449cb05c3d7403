"""The log as pages of JSON: whoever asks for what is gone is told so."""

from dataclasses import replace
from pathlib import Path

from app.jobs.housekeeping import trim
from app.store.tasks import Lane, Task
from tests.home import home_in

TASK = Task("task_x", "schedule.trim", "schedule:trim", "ws", {}, Lane.NORMAL, 0, 0, 1)


async def test_a_page_says_what_was_trimmed_and_where_to_look_instead(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        job = await home.order()
        await web.post(f"/api/v1/jobs/{job}/cancel")
        newest = (await web.get("/api/v1/events")).json()["next_after"]
        at_once = replace(home.services, rules=replace(home.services.rules, events_kept=0.0))
        await trim(at_once, TASK)

        gone = (await web.get("/api/v1/events")).json()
        here = (await web.get("/api/v1/events", params={"after": gone["trimmed_to"]})).json()

    assert gone["trimmed_to"] == newest
    assert gone["next_after"] == newest
    assert gone["snapshot"].endswith("/api/v1/jobs")
    assert here["trimmed_to"] is None


async def test_who_takes_neither_pages_nor_streams_is_told_what_there_is(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        refused = await web.get("/api/v1/events", headers={"accept": "image/png"})
        page = await web.get("/api/v1/events", headers={"accept": "text/csv, application/*"})

    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")
    assert page.headers["content-type"] == "application/json"
