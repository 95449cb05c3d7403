"""One database, one storage: who keeps files elsewhere than the others does not start."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from app.core.errors import Unavailable
from app.lifespan import Life
from app.settings import Settings, SettingsError
from app.wiring import wire
from tests.contracts.moto import moto
from tests.running import SECRET, prepared, schema_of_its_own, settings_from


def _settings(folder: Path, database: str, **more: str) -> Settings:
    given = {"DARKROOM_DATA": str(folder), "DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_SECRET": SECRET}
    return settings_from({**given, "DARKROOM_DATABASE_URL": database, **more})


def _life(settings: Settings) -> Life:
    return Life(wire(settings, "http://localhost:8000"), works=False)


async def test_processes_that_see_the_same_folder_work_together(tmp_path: Path) -> None:
    with schema_of_its_own() as database:
        files = {"DARKROOM_STORAGE_URL": f"disk:{tmp_path / 'shared'}"}
        one = _settings(tmp_path / "one", database, **files)
        await _prepared(one)
        async with _life(one), _life(_settings(tmp_path / "two", database, **files)):
            pass


async def test_another_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with schema_of_its_own() as database:
        ours = _settings(tmp_path / "one", database)
        await _prepared(ours)
        async with _life(ours):
            pass
        theirs = _settings(tmp_path / "two", database)
        with pytest.raises(SettingsError, match=r"s3://BUCKET") as refused:
            async with _life(theirs):
                pass
        mark = str(refused.value).split("named ")[1].split(" ")[0]
        assert (ours.files / mark).exists()
        assert not (theirs.files / mark).exists()
        (theirs.files / mark).parent.mkdir()
        (theirs.files / mark).touch()
        async with _life(theirs):
            pass


async def test_another_bucket_is_refused_too(tmp_path: Path) -> None:
    with schema_of_its_own() as database, moto(strict=False) as server:
        await _prepared(_settings(tmp_path, database))
        async with _life(_settings(tmp_path, database)):
            pass
        with pytest.raises(SettingsError, match="another storage"):
            async with _life(_settings(tmp_path, database, **server.environment())):
                pass


async def test_a_folder_that_moves_with_its_files_is_the_same(tmp_path: Path) -> None:
    with schema_of_its_own() as database:
        before = _settings(tmp_path / "before", database)
        await _prepared(before)
        async with _life(before):
            pass
        shutil.move(tmp_path / "before", tmp_path / "after")
        async with _life(_settings(tmp_path / "after", database)):
            pass


async def test_while_the_storage_is_away_it_starts_all_the_same(tmp_path: Path) -> None:
    with schema_of_its_own() as database:
        settings = _settings(tmp_path, database)
        await _prepared(settings)
        async with _life(settings):
            pass
        life = _life(settings)

        async def away(_key: str) -> None:
            raise Unavailable("The storage is away.")

        life.wired.services.blobs.stat = away  # type: ignore[method-assign,assignment]
        async with life:
            pass


async def _prepared(settings: Settings) -> None:
    await asyncio.to_thread(prepared, settings)
