"""An archive is written while it is read: what it takes does not grow with the pictures, and what cannot be read is a
problem and no broken file."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from zipfile import ZipFile

import pytest

from app.jobs import runs
from app.jobs.archive import archive
from app.web.operation import Download
from tests.home import ORDER, Home

HUGE = 200_000_000
LITTLE = 4_000_000

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def finished_run(home: Home) -> tuple[str, Path]:
    """A run of one picture, and the file that picture lies in."""
    async with home.client() as web:
        answer = await web.post("/api/v1/runs", json={"jobs": [ORDER]})
        [job] = answer.json()["jobs"]
        async with home.working():
            pass
        [(_, request_id)] = home._asked_for(job)
        await home.send(home.fal.letter(home.fal.webhooks[request_id], request_id))
    assert (await home.ended(job))["status"] == "completed"
    [asset] = home.rows("SELECT key FROM assets WHERE job = ?", job)
    return answer.json()["id"], home.life.wired.settings.files / asset["key"]


async def of(home: Home, run: str) -> Download:
    [row] = home.rows("SELECT workspace FROM runs WHERE id = ?", run)
    return await archive(home.services, await runs.find(home.services, row["workspace"], run))


async def test_a_picture_is_never_held_whole(home: Home, tmp_path: Path) -> None:
    run, file = await finished_run(home)
    os.truncate(file, HUGE)
    download = await of(home, run)
    copy, sizes = tmp_path / "run.zip", []

    tracemalloc.start()
    try:
        with copy.open("wb") as into:
            async for chunk in download.chunks:
                sizes.append(len(chunk))
                into.write(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sum(sizes) > HUGE
    assert max(sizes) < LITTLE
    assert peak < LITTLE
    with ZipFile(copy) as whole:
        assert whole.infolist()[0].file_size == HUGE
        assert whole.testzip() is None


async def test_who_leaves_in_the_middle_leaves_nothing_open(home: Home) -> None:
    run, file = await finished_run(home)
    os.truncate(file, LITTLE)
    download = await of(home, run)
    await anext(download.chunks)
    assert str(file.resolve()) in open_files()

    await download.chunks.aclose()  # type: ignore[attr-defined]

    assert str(file.resolve()) not in open_files()


async def test_a_picture_that_cannot_be_read_is_a_problem(home: Home) -> None:
    run, file = await finished_run(home)
    file.unlink()

    async with home.client() as web:
        answer = await web.get(f"/api/v1/runs/{run}/archive")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def open_files() -> set[str]:
    return {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
