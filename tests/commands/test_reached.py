"""A database that cannot be used is named, with what to do, and never as a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.__main__ import build
from app.settings import SettingsError

COMMANDS = ("migrate", "serve", "work", "verify", "admin workspace list")


def refused(words: str) -> str:
    if words.startswith(("serve", "work")):  # they open doors, which only their end closes
        ended = subprocess.run(
            [sys.executable, "-m", "app", *words.split()], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
        return ended.stderr
    with pytest.raises(SettingsError) as told:
        build()(words.split(), result_action="return_value")
    return str(told.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_away_is_named_without_the_password(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _use(monkeypatch, tmp_path, "postgresql://somebody:hunter2@127.0.0.1:9/pictures")
    said = refused(command + (" --port 0" if command in ("serve", "work") else ""))
    assert "127.0.0.1:9/pictures" in said
    assert "does the server run" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("command", ["migrate", "verify", "serve --port 0"])
def test_a_database_that_does_not_exist_is_to_be_made(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = os.environ.get("DARKROOM_TEST_DATABASE_URL")
    if not server:
        pytest.skip("DARKROOM_TEST_DATABASE_URL names no PostgreSQL")
    url = make_url(server).set(database="nobody_made_this").render_as_string(hide_password=False)
    _use(monkeypatch, tmp_path, url)
    assert "createdb nobody_made_this" in refused(command)


@pytest.mark.parametrize("command", ["migrate", "verify", "serve --port 0", "work"])
def test_a_file_that_is_no_database_is_named(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _use(monkeypatch, tmp_path, None)
    file = tmp_path / "real" / "darkroom.db"
    file.parent.mkdir()
    file.write_text("a letter to a friend, rather longer than a header of a database would be\n" * 200)
    said = refused(command)
    assert f"{file} is no SQLite database" in said


def _use(monkeypatch: pytest.MonkeyPatch, folder: Path, database: str | None) -> None:
    for name in ("DARKROOM_FAL_URL", "DARKROOM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAL_KEY", "k")
    monkeypatch.setenv("DARKROOM_DATA", str(folder))
    monkeypatch.setenv("DARKROOM_SECRET", "s" * 40)
    if database:
        monkeypatch.setenv("DARKROOM_DATABASE_URL", database)
