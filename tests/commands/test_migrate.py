"""`migrate` to and fro, also on a database where the next version has been."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.__main__ import build
from app.settings import SettingsError
from app.store.schema import newest
from tests.home import ORDER, home_in


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKROOM_FAL_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("DARKROOM_DATABASE_URL", raising=False)
    _migrate(tmp_path)
    return tmp_path


def test_it_goes_back_and_comes_again(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _migrate(data, "--to", "0002_extras")
    assert capsys.readouterr().out.endswith("The database is at 0002_extras.\n")
    _migrate(data)
    assert capsys.readouterr().out.startswith(f"The database is at {newest()}: ")
    _migrate(data, "--check")


async def test_what_was_turned_away_before_that_was_counted_is_counted(data: Path) -> None:
    async with home_in(data) as home:
        turned_away, taken = (await home.submitted()).job, (await home.submitted()).job
    _change(data, f"UPDATE attempts SET status = 'not_accepted' WHERE job = '{turned_away}'")
    await asyncio.to_thread(_migrate, data, "--to", "0003_settled")
    await asyncio.to_thread(_migrate, data)
    assert {row["id"]: row["turned_away"] for row in home.rows("SELECT * FROM jobs")} == {turned_away: 1, taken: 0}


async def test_a_run_that_is_paused_when_that_begins_to_be_noted_was_paused_when_its_event_says(data: Path) -> None:
    async with home_in(data) as home, home.client() as web:
        paused, running = [(await web.post("/api/v1/runs", json={"jobs": [ORDER]})).json()["id"] for _ in range(2)]
        await web.post(f"/api/v1/runs/{paused}/pause")
    _change(data, "UPDATE events SET time = '2026-01-02 03:04:05.000000' WHERE type = 'run.paused'")
    await asyncio.to_thread(_migrate, data, "--to", "0005_waiting")
    await asyncio.to_thread(_migrate, data)
    since = {row["id"]: row["paused_at"] for row in home.rows("SELECT * FROM runs")}
    assert since == {paused: "2026-01-02 03:04:05.000000", running: None}


def test_where_the_next_version_has_been_it_says_so_and_undoes_nothing(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(data, "UPDATE alembic_version SET version_num = '9999_next'")
    capsys.readouterr()
    _migrate(data)
    assert capsys.readouterr().out.startswith("The database is at 9999_next: ")
    for asked in (("--to", "0002_extras"), ("--check",)):
        with pytest.raises(SettingsError, match=r"at 9999_next, and only the newer version .* knows the way back"):
            _migrate(data, *asked)
    _change(data, f"UPDATE alembic_version SET version_num = '{newest()}'")
    _migrate(data, "--check")


def _migrate(data: Path, *options: str) -> None:
    assert build()(["migrate", "--data", str(data), *options], result_action="return_value") == 0


def _change(data: Path, script: str) -> None:
    with closing(sqlite3.connect(data / "sandbox" / "darkroom.db")) as connection, connection:
        connection.execute(script)
