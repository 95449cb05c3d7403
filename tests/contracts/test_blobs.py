"""What every store of files keeps to: a folder, a bucket that believes everybody, and one that verifies signatures."""

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from app.adapters.disk import DiskBlobs
from app.adapters.s3 import S3Blobs
from app.core.errors import NotFound
from app.ports import Blobs

SIZE = 700_001
PICTURE = os.urandom(SIZE)


@pytest.fixture(params=["disk", "believing_moto", "strict_moto"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    made: Blobs
    if request.param == "disk":
        made = DiskBlobs(tmp_path / "blobs", b"secret")
    else:
        made = S3Blobs(request.getfixturevalue(request.param).bucket())
    yield made
    await made.close()


@pytest.fixture
def prefix() -> str:
    """A workspace of its own for each test: the buckets are shared."""
    return f"w/ws_{os.urandom(8).hex()}/"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURE)
    return path


async def _bytes(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start, end)])


async def test_what_is_put_is_read_back_in_pieces(blobs: Blobs, prefix: str, picture: Path) -> None:
    await blobs.put(f"{prefix}a/x.png", picture, content_type="image/png")

    chunks = [chunk async for chunk in blobs.read(f"{prefix}a/x.png")]

    assert b"".join(chunks) == PICTURE
    assert len(chunks) > 1


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (0, SIZE),
        (1, None),
        (SIZE - 1, None),
        (SIZE - 1, SIZE + 50),
        (5, 5),
        (9, 3),
        (SIZE, None),
        (SIZE + 9, None),
    ],
)
async def test_a_range_is_what_a_slice_would_be(
    blobs: Blobs, prefix: str, picture: Path, start: int, end: int | None
) -> None:
    await blobs.put(f"{prefix}a/x.png", picture, content_type="image/png")

    assert await _bytes(blobs, f"{prefix}a/x.png", start, end) == PICTURE[start:end]


async def test_an_empty_file_is_a_file(blobs: Blobs, prefix: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    await blobs.put(f"{prefix}a/empty", empty, content_type="text/plain")

    found = await blobs.stat(f"{prefix}a/empty")

    assert found is not None
    assert found.size == 0
    assert await _bytes(blobs, f"{prefix}a/empty") == b""


async def test_stat_says_size_and_time(blobs: Blobs, prefix: str, picture: Path) -> None:
    key = f"{prefix}a/x.png"
    await blobs.put(key, picture, content_type="image/png")

    found = await blobs.stat(key)

    assert found is not None
    assert (found.key, found.size) == (key, SIZE)
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)


async def test_what_is_not_there_is_not_found(blobs: Blobs, prefix: str) -> None:
    assert await blobs.stat(f"{prefix}nothing") is None
    with pytest.raises(NotFound):
        await _bytes(blobs, f"{prefix}nothing")
    with pytest.raises(NotFound):
        await _bytes(blobs, f"{prefix}nothing", 10, 20)


async def test_putting_twice_is_harmless(blobs: Blobs, prefix: str, picture: Path) -> None:
    key = f"{prefix}a/x.png"
    await blobs.put(key, picture, content_type="image/png")
    await blobs.put(key, picture, content_type="image/png")

    digest = hashlib.sha256(await _bytes(blobs, key)).digest()

    assert digest == hashlib.sha256(PICTURE).digest()
    assert [blob.key async for blob in blobs.keys(prefix)] == [key]


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(blobs: Blobs, prefix: str, picture: Path) -> None:
    key = f"{prefix}a/x.png"
    await blobs.put(key, picture, content_type="image/png")

    await blobs.delete(key)
    await blobs.delete(key)

    assert await blobs.stat(key) is None
    assert [blob async for blob in blobs.keys(prefix)] == []


async def test_keys_are_found_by_any_prefix(blobs: Blobs, prefix: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"12345")
    keys = {f"{prefix}{name}" for name in ("asset_1/a.png", "asset_1/a.thumb.webp", "asset_10/b.png", "asset_2/c.png")}
    for key in keys:
        await blobs.put(key, small, content_type="image/png")

    async def under(text: str) -> set[str]:
        return {blob.key.removeprefix(prefix) async for blob in blobs.keys(prefix + text)}

    assert {blob.key: blob.size async for blob in blobs.keys(prefix)} == dict.fromkeys(keys, 5)
    assert await under("asset_1/") == {"asset_1/a.png", "asset_1/a.thumb.webp"}
    assert await under("asset_1") == {"asset_1/a.png", "asset_1/a.thumb.webp", "asset_10/b.png"}
    assert await under("asset_1/a.t") == {"asset_1/a.thumb.webp"}
    assert await under("nobody/") == set()


async def test_reading_may_stop_early(blobs: Blobs, prefix: str, picture: Path) -> None:
    key = f"{prefix}a/x.png"
    await blobs.put(key, picture, content_type="image/png")

    for _ in range(3):
        async with aclosing(cast("AsyncGenerator[bytes, None]", blobs.read(key))) as chunks:
            first = await anext(chunks)
        assert first
        assert PICTURE.startswith(first)


async def test_a_healthy_store_says_so_and_keeps_nothing_of_it(blobs: Blobs) -> None:
    await blobs.check()

    assert [blob async for blob in blobs.keys("probe")] == []


async def test_a_token_that_is_not_ours_opens_nothing(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        blobs.open_signed("nonsense")
