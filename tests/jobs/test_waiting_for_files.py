"""A job whose pictures are made waits until they can be had and stored, tells its owner so once, and does not wait for
ever: in the end it has failed and what was held for it is given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

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


async def _made(home: Home) -> str:
    """A job whose pictures are made, after the first try to fetch them."""
    waiting = await home.submitted()
    assert (await home.send(home.letter(waiting))).status_code == 200
    async with home.working():
        await until(lambda: home.job(waiting.job)["status"] == "storing")
        await until(lambda: home.rows("SELECT 1 FROM tasks WHERE kind = 'jobs.mirror' AND last_error IS NOT NULL"))
    return waiting.job


async def _later(home: Home, seconds: float) -> None:
    """So much later, when all that had fallen due is done."""
    home.services.clock.agree_with(home.services.clock.now() + timedelta(seconds=seconds))
    async with home.working():
        pass


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
