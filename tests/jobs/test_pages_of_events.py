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


async def test_a_place_where_no_stream_could_begin_is_no_page_either(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        await home.order()
        newest = (await web.get("/api/v1/events")).json()["next_after"]
        at_the_end = await web.get("/api/v1/events", params={"after": newest})
        beyond = await web.get("/api/v1/events", params={"after": newest + 1})
        told = await web.get("/api/v1/events", headers={"last-event-id": str(newest + 1)})
        no_number = await web.get("/api/v1/events", headers={"last-event-id": "-1"})
        wins = await web.get("/api/v1/events", params={"after": 0}, headers={"last-event-id": str(newest - 1)})

    assert (at_the_end.status_code, at_the_end.json()["data"]) == (200, [])
    assert [answer.status_code for answer in (beyond, told, no_number)] == [422, 422, 422]
    assert f"The newest event is number {newest}: go on after that one" in beyond.json()["detail"]
    assert [answer.json()["errors"][0]["pointer"] for answer in (beyond, told, no_number)] == [
        "/query/after",
        "/header/last-event-id",
        "/header/last-event-id",
    ]
    assert [event["seq"] for event in wins.json()["data"]] == [newest]


async def test_who_takes_neither_pages_nor_streams_is_told_what_there_is(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        refused = await web.get("/api/v1/events", headers={"accept": "image/png"})
        page = await web.get("/api/v1/events", headers={"accept": "text/csv, application/*"})

    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")
    assert page.headers["content-type"] == "application/json"
