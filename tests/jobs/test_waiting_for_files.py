"""A job whose pictures are made waits until they can be had and stored, tells its owner so once, and does not wait for
ever: in the end it has failed and what was held for it is given back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.home import Home, home_in
from tests.waiting import until

HOUR = 3600.0


async def test_files_that_fal_does_not_give_are_waited_for_half_a_day(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        patience = home.services.rules.files_fetched_within
        home.fal.losing = 503
        job = await _made(home)
        await _later(home, patience - HOUR)
        assert home.job(job)["status"] == "storing", "long past its deadline, but it is paid for"
        await _later(home, 2 * HOUR)
        assert await _given_back(home, job) == ("failed", "picture-lost")


async def test_our_own_storage_is_waited_for_as_long_as_fal_keeps_the_files(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        kept = home.services.rules.files_kept
        assert kept > 4 * home.services.rules.files_fetched_within
        with _storage_away(home):
            job = await _made(home)
            await _later(home, kept - HOUR)
            assert home.job(job)["status"] == "storing"
            await _later(home, 2 * HOUR)
            assert await _given_back(home, job) == ("failed", "picture-lost")
            assert "put into our own storage: " in json.loads(home.job(job)["error"])["detail"]


async def test_what_waited_long_for_our_storage_is_not_lost_to_the_first_hiccup_of_fal(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        rules = home.services.rules
        with _storage_away(home):
            job = await _made(home)
            await _later(home, rules.files_fetched_within + HOUR)
        home.fal.losing = 503
        await _later(home, HOUR)
        assert home.job(job)["status"] == "storing"
        home.fal.losing = 0
        await _later(home, HOUR)
        assert home.job(job)["status"] == "completed"
        [held] = home.rows("SELECT kind FROM transfers WHERE hold = ? AND kind <> 'hold'", home.job(job)["hold"])
        assert held == {"kind": "post"}


async def test_an_answer_that_is_no_is_believed_after_a_few_times(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.losing = 404
        job = await _made(home)
        while _tries(home) < home.services.rules.transfer_tries - 1:
            assert home.job(job)["status"] == "storing"
            await _later(home, 120)
        assert home.job(job)["status"] == "storing"
        await _later(home, 120)
        assert await _given_back(home, job) == ("failed", "picture-lost")
        assert _told(home, job) == ["files-away"], "while it was waited for"
        assert json.loads(home.job(job)["error"])["detail"] == (
            "The picture could not be fetched from fal's file server: The server answered 404. "
            "Nothing was charged, and what was held is given back. Trying again makes a new picture, which costs again."
        )


async def test_the_owner_is_told_once_in_each_wait_and_the_note_says_what_for(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.losing = 503
        job = await _made(home)
        await _later(home, 60)
        assert (_told(home, job), await _note(home, job)) == (["files-away"], "Waiting for fal's files, since ")
        home.fal.losing = 0
        with _storage_away(home):
            await _later(home, 60)
            await _later(home, 60)
        told = ["files-away", "storage-away"]
        assert (_told(home, job), await _note(home, job)) == (told, "Waiting for our storage, since ")
        await _later(home, 120)  # a pause of a minute may last half as long again
        assert home.job(job)["status"] == "completed"
        assert (_told(home, job), await _note(home, job)) == (told, "")


async def test_what_is_to_be_known_of_the_pictures_stays_beside_what_they_wait_for(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        home.fal.losing = 503
        job = await _made(home, images=2, has_nsfw_concepts=[False, True])
        async with home.client() as web:
            note = (await web.get(f"/api/v1/jobs/{job}")).json()["note"]
        assert "blacked out 1 of 2 pictures" in note
        assert "Waiting for fal's files" in note
        home.fal.losing = 0
        await _later(home, 60)
        assert home.job(job)["status"] == "completed"
        async with home.client() as web:
            note = (await web.get(f"/api/v1/jobs/{job}")).json()["note"]
        assert "blacked out 1 of 2 pictures" in note
        assert "Waiting" not in note


async def _made(home: Home, *, images: int = 1, **said: Any) -> str:
    """A job whose pictures are made, after the first try to fetch them. What is `said` joins fal's payload."""
    waiting = await home.submitted()
    payload = home.fal.payload(waiting.request_id)
    payload["payload"] |= {"images": payload["payload"]["images"] * images, **said}
    assert (await home.send(home.letter(waiting, payload=payload))).status_code == 200
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] == "storing")
        await until(lambda: home.rows("SELECT 1 FROM tasks WHERE kind = 'jobs.mirror' AND last_error IS NOT NULL"))
    return waiting.job


async def _later(home: Home, seconds: float) -> None:
    """So much later, when all that had fallen due is done."""
    home.services.clock.agree_with(home.services.clock.now() + timedelta(seconds=seconds))
    async with home.working():
        pass


def _told(home: Home, job: str) -> list[str]:
    rows = home.rows("SELECT data FROM events WHERE job = ? AND type = 'notice' ORDER BY seq", job)
    return [json.loads(row["data"])["code"] for row in rows]


async def _note(home: Home, job: str) -> str:
    """As its owner reads it, up to the time in it."""
    async with home.client() as web:
        note: str = (await web.get(f"/api/v1/jobs/{job}")).json()["note"] or ""
    return note[: re.search(r"\d|$", note).start()]  # type: ignore[union-attr]  # it finds the end at the latest


def _tries(home: Home) -> int:
    [task] = home.rows("SELECT tries FROM tasks WHERE kind = 'jobs.mirror'")
    return int(task["tries"])


async def _given_back(home: Home, job: str) -> tuple[str, str]:
    """How it ended; its hold is void and its owner has all credits."""
    async with home.client() as web:
        view = (await web.get(f"/api/v1/jobs/{job}")).json()
        assert (await web.get("/api/v1/credits")).json()["held"] == 0
    assert view["credits"] == {"held": 0, "posted": 0}
    assert view["note"] is None
    return view["status"], view["error"]["code"]


@contextmanager
def _storage_away(home: Home) -> Iterator[None]:
    """Its folder is not there, and cannot be made."""
    files = home.life.wired.settings.files
    aside = files.with_name("aside")
    files.rename(aside)
    files.write_text("in the way")
    try:
        yield
    finally:
        files.unlink()
        aside.rename(files)
