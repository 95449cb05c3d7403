"""What only a folder has: durability, signed addresses, and names that try to leave it."""

import errno
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.adapters import disk
from app.adapters.disk import DiskBlobs
from app.core.errors import NotFound, StorageFull, Unavailable

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)


class Wall:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(b"picture")
    return path


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    "key",
    [
        *("", ".", "..", "/", "/etc/passwd", "../x", "a/../x", "a/..", "a/./x", "a//x", "a/", "./x", "~/x"),
        *("a/.incoming", ".incoming/x", "a\\x", "a/x\0", "a/x\n", "a/ä", "a/x y", "C:x", "a/%2e%2e/x", "x" * 501),
    ],
)
async def test_a_name_that_is_no_key_reaches_no_file(tmp_path: Path, picture: Path, key: str) -> None:
    blobs = DiskBlobs(tmp_path / "blobs", b"secret")
    before = _paths(tmp_path)

    for attempt in (blobs.put(key, picture, content_type="image/png"), blobs.stat(key), blobs.delete(key)):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        await anext(aiter(blobs.read(key)))

    assert _paths(tmp_path) == before


async def test_file_and_folders_are_synced_before_put_returns(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    root = tmp_path / "blobs"

    await DiskBlobs(root, b"secret").put("w/ws_1/asset_1/x.png", picture, content_type="image/png")

    assert Path(synced[0]).parent == root / ".incoming"
    assert set(synced[1:]) == {str(root / part) for part in ("w/ws_1/asset_1", "w/ws_1", "w", "")}


async def test_a_put_that_fails_leaves_nothing(tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = DiskBlobs(tmp_path / "blobs", b"secret")

    def fsync(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(Unavailable, match="Input/output error"):
        await blobs.put("w/x.png", picture, content_type="image/png")

    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_said_as_such(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(StorageFull):
        await DiskBlobs(tmp_path / "blobs", b"secret").put("w/x.png", picture, content_type="image/png")


async def test_a_file_larger_than_allowed_is_a_full_disk(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StorageFull):
            await DiskBlobs(tmp_path / "blobs", b"secret").put("w/x.png", large, content_type="image/png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_a_missing_source_is_unavailable_and_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"nowhere\.png"):
        await DiskBlobs(tmp_path / "blobs", b"s").put("w/x.png", tmp_path / "nowhere.png", content_type="image/png")


async def test_deleting_beside_storing_loses_nothing(tmp_path: Path, picture: Path) -> None:
    import asyncio

    blobs = DiskBlobs(tmp_path / "blobs", b"secret")

    async def come_and_go(number: int) -> None:
        for _ in range(20):
            await blobs.put(f"w/a/{number}.png", picture, content_type="image/png")
            assert await blobs.stat(f"w/a/{number}.png") is not None
            await blobs.delete(f"w/a/{number}.png")

    await asyncio.gather(*map(come_and_go, range(8)))

    assert [blob async for blob in blobs.keys("")] == []
    assert not (tmp_path / "blobs" / "w").exists()


async def test_an_address_works_until_it_expires(tmp_path: Path) -> None:
    wall = Wall()
    blobs = DiskBlobs(tmp_path, b"secret", wall)
    address = await blobs.url(
        "w/ws_1/a/x.png", lifetime=timedelta(hours=1), content_type="image/png", filename='a "b" ü.png'
    )
    token = address.removeprefix("/files/")
    assert token != address

    wall.now = NOW + timedelta(hours=1)
    opened = blobs.open_signed(token)
    wall.now = NOW + timedelta(hours=1, minutes=1)

    assert (opened.key, opened.content_type, opened.filename) == ("w/ws_1/a/x.png", "image/png", 'a "b" ü.png')
    with pytest.raises(NotFound, match="expired"):
        blobs.open_signed(token)


async def test_an_address_stays_the_same_for_a_while_so_that_browsers_can_keep_the_picture(tmp_path: Path) -> None:
    wall = Wall()
    blobs = DiskBlobs(tmp_path, b"secret", wall)

    async def address() -> str:
        return await blobs.url("w/x.png", lifetime=timedelta(hours=1), content_type="image/png", filename="x.png")

    first = await address()
    wall.now = NOW + timedelta(seconds=20)

    assert await address() == first


async def test_a_changed_or_foreign_token_opens_nothing(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path, b"secret", Wall())
    foreign = DiskBlobs(tmp_path, b"another secret", Wall())
    asked = {"lifetime": timedelta(hours=1), "content_type": "image/png", "filename": "x.png"}
    token = (await blobs.url("w/x.png", **asked)).removeprefix("/files/")  # type: ignore[arg-type]

    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(0, len(token), 3)]
    for wrong in (*changed, token[:-1], f"{token}x", "", ".", "..", "é", (await foreign.url("w/x.png", **asked))[7:]):  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            blobs.open_signed(wrong)


async def test_the_check_speaks_up_before_the_disk_is_full(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path, b"secret", least_room=1 << 60)

    with pytest.raises(Unavailable, match="make room"):
        await blobs.check()


async def test_the_check_says_why_the_folder_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match="Not a directory"):
        await DiskBlobs(tmp_path / "file", b"secret").check()


async def test_what_a_dead_process_left_half_stored_is_swept(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path, b"secret")
    await blobs.check()
    old, young = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "young"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))

    await blobs.check()

    assert not old.exists()
    assert young.exists()
    assert [blob async for blob in blobs.keys("")] == []


async def test_many_files_are_listed_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_LISTED_AT_ONCE", 7)
    for number in range(50):
        (tmp_path / "w" / f"{number}").mkdir(parents=True)
        (tmp_path / "w" / f"{number}" / "x").touch()

    assert len({blob.key async for blob in DiskBlobs(tmp_path, b"secret").keys("w/")}) == 50
