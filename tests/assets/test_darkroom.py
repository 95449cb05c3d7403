import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.assets.darkroom import WorkerProcesses
from app.assets.pieces import NotAPicture
from app.core.errors import StorageFull, Unavailable
from app.ports import Developed
from tests.assets.pictures import after, chunk, drawing, encoded, exif, opened, profile, raw_png
from tests.waiting import until


@pytest_asyncio.fixture
async def darkroom() -> AsyncIterator[WorkerProcesses]:
    room = WorkerProcesses(max_pixels=40_000_000, size=1)
    yield room
    await room.close()


async def developed(room: WorkerProcesses, file: bytes, folder: Path, *, made_by_ai: bool = False) -> Developed:
    (folder / "in").write_bytes(file)
    return await room.develop(folder / "in", folder, made_by_ai=made_by_ai)


async def until_busy(room: WorkerProcesses) -> None:
    await until(lambda: not room._idle, within=30)


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    ],
)
async def test_a_picture_is_measured_and_its_pixels_kept(
    format: str, mode: str, darkroom: WorkerProcesses, tmp_path: Path
) -> None:
    before = drawing(1300, 700, mode)
    file = encoded(before, format)
    found = await developed(darkroom, file, tmp_path)
    kept, small = opened(found.picture), opened(found.thumbnail)
    assert (found.width, found.height, found.content_type) == (1300, 700, f"image/{format.lower()}")
    assert kept.tobytes() == opened(file).tobytes()
    assert (small.format, small.size) == ("WEBP", (512, 276))
    assert small.info.get("exif") is None
    assert found.digest.size == found.picture.stat().st_size
    top_left, bottom_right = small.convert("RGB").getpixel((40, 40)), small.convert("RGB").getpixel((500, 250))
    assert top_left != bottom_right, "the thumbnail shows something"


async def test_an_avif_becomes_a_png_of_the_same_pixels(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    file = encoded(drawing(mode="RGBA"), "AVIF", icc_profile=profile(), exif=exif())
    found = await developed(darkroom, file, tmp_path, made_by_ai=True)
    kept = opened(found.picture)
    assert (found.content_type, found.extension, kept.format) == ("image/png", "png", "PNG")
    assert kept.tobytes() == opened(file).tobytes()
    assert kept.info["icc_profile"] == profile()
    assert b"Spy Camera" not in found.picture.read_bytes()
    assert b"trainedAlgorithmicMedia" in found.picture.read_bytes()


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF"])
async def test_a_turned_picture_is_turned_upright_without_loss(
    format: str, turn: int, darkroom: WorkerProcesses, tmp_path: Path
) -> None:
    from PIL import ImageOps

    file = encoded(drawing(), format, exif=exif(turn))
    found = await developed(darkroom, file, tmp_path)
    upright = ImageOps.exif_transpose(opened(file))
    kept = opened(found.picture)
    assert (kept.format, kept.tobytes()) == ("PNG", upright.tobytes())
    assert (found.width, found.height) == upright.size
    assert kept.getexif() == {}


@pytest.mark.parametrize(
    "file",
    [
        encoded(drawing(mode="CMYK"), "JPEG", exif=exif(6)),
        after(raw_png(40, 30, depth=16), chunk(b"eXIf", exif(3).tobytes()[6:])),
    ],
)
async def test_what_cannot_be_turned_without_loss_is_refused(
    file: bytes, darkroom: WorkerProcesses, tmp_path: Path
) -> None:
    with pytest.raises(NotAPicture, match="without loss"):
        await developed(darkroom, file, tmp_path)


async def test_sixteen_bits_a_sample_are_kept(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    file = raw_png(40, 30, depth=16)
    assert (await developed(darkroom, file, tmp_path)).picture.read_bytes() == file


async def test_colour_and_placeholder_tell_what_the_picture_looks_like(
    darkroom: WorkerProcesses, tmp_path: Path
) -> None:
    picture = drawing(400, 400)
    picture.paste((20, 120, 220), (0, 0, 400, 320))
    found = await developed(darkroom, encoded(picture, "PNG"), tmp_path)
    red, green, blue = bytes.fromhex(found.colour[1:])
    assert abs(red - 20) + abs(green - 120) + abs(blue - 220) < 30
    tiny = opened(base64.b64decode(found.placeholder.removeprefix("data:image/webp;base64,")))
    assert max(tiny.size) == 16
    assert len(found.placeholder) < 800


async def test_bombs_are_refused_by_their_header(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    for file in (raw_png(7000, 7000, depth=1, colour=0), raw_png(40_000, 40_000, rows=b""), raw_png(70_000, 1)):
        with pytest.raises(NotAPicture, match=r"million pixels|longer than"):
            await developed(darkroom, file, tmp_path)


async def test_the_longest_line_is_taken(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    found = await developed(darkroom, raw_png(65_535, 1), tmp_path)
    assert (found.width, found.height) == (65_535, 1)


async def test_a_picture_that_takes_too_long_costs_one_worker_and_no_more(tmp_path: Path) -> None:
    room = WorkerProcesses(max_pixels=40_000_000, size=1, seconds=0.05)
    large = encoded(drawing(3000, 3000), "PNG")
    with pytest.raises(NotAPicture, match="seconds"):
        await developed(room, large, tmp_path)
    assert (await developed(room, raw_png(10, 10), tmp_path)).width == 10
    await room.close()


async def test_a_picture_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    room = WorkerProcesses(max_pixels=40_000_000, size=1, memory=200 << 20)
    with pytest.raises(NotAPicture):
        await developed(room, raw_png(6000, 6000, colour=6), tmp_path)
    assert (await developed(room, raw_png(10, 10), tmp_path)).width == 10
    await room.close()


async def test_a_killed_worker_is_replaced_idle_or_busy(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    await developed(darkroom, raw_png(10, 10), tmp_path)
    os.kill(darkroom._idle[0].pid, signal.SIGKILL)
    assert (await developed(darkroom, raw_png(11, 10), tmp_path)).width == 11

    victim = darkroom._idle[0].pid
    os.kill(victim, signal.SIGSTOP)
    (tmp_path / "in").write_bytes(raw_png(12, 10))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(darkroom.develop(tmp_path / "in", tmp_path, made_by_ai=False))
        await until_busy(darkroom)
        os.kill(victim, signal.SIGKILL)
    assert waiting.result().width == 12


async def test_an_abandoned_question_leaves_no_answer_behind_for_the_next_one(
    darkroom: WorkerProcesses, tmp_path: Path
) -> None:
    await developed(darkroom, raw_png(10, 10), tmp_path)
    os.kill(darkroom._idle[0].pid, signal.SIGSTOP)
    (tmp_path / "in").write_bytes(raw_png(13, 10))
    async with asyncio.TaskGroup() as group:
        abandoned = group.create_task(darkroom.develop(tmp_path / "in", tmp_path, made_by_ai=False))
        await until_busy(darkroom)
        abandoned.cancel()
    assert (await developed(darkroom, raw_png(14, 10), tmp_path)).width == 14


async def test_many_at_once_share_the_workers(tmp_path: Path) -> None:
    room = WorkerProcesses(max_pixels=40_000_000, size=2)

    async def one(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        return (await developed(room, raw_png(10 + number, 10), folder)).width

    assert await asyncio.gather(*map(one, range(12))) == [10 + number for number in range(12)]
    assert len(room._started) == 2
    await room.close()


async def test_a_full_disk_is_no_fault_of_the_picture(darkroom: WorkerProcesses, tmp_path: Path) -> None:
    (tmp_path / "thumbnail").symlink_to("/dev/full")
    with pytest.raises(StorageFull):
        await developed(darkroom, raw_png(10, 10), tmp_path)


async def test_a_worker_that_cannot_start_is_said_to_be_away(tmp_path: Path) -> None:
    room = WorkerProcesses(max_pixels=40_000_000, size=1, memory=1 << 20)
    with pytest.raises(Unavailable):
        await developed(room, raw_png(10, 10), tmp_path)
    await room.close()


def test_the_service_itself_never_loads_a_decoder() -> None:
    check = "import sys, app.assets.darkroom, app.assets; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
