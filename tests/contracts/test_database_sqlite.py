"""What only SQLite can do to us: another program holds the file, the disk is full, the folder is read-only. Nothing is
half done, the caller is told what is wrong, and when it is over everything goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, insert, make_url, select, text, update
from sqlmodel import Session

from app.core.errors import Problem, StorageFull, Unavailable
from app.credits.model import BalanceRow
from app.store.columns import table
from app.store.inbox import RefusalRow
from app.store.sqlite import FolderLock
from app.store.write import Tx
from tests.conftest import KERNEL_REFUSES
from tests.databases import Shelf, make_tables, note, opened, place_for, record


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for("sqlite", tmp_path) as url:
        async with opened(url, lock_wait=0.2) as shelf:
            yield shelf


def _large(name: str, tx: Tx) -> None:
    note(tx, name, "x" * 500_000)
    record(tx)


async def test_what_waits_is_committed_together_and_in_order(tmp_path: Path) -> None:
    passed: list[str] = []
    with place_for("sqlite", tmp_path) as url:
        async with opened(url, probe=passed.append) as shelf:
            await asyncio.gather(*(shelf.db.write(partial(note, id_=f"{n:03}")) for n in range(100)))
            assert await shelf.notes() == [f"{n:03}" for n in range(100)]

    befores = [n for n, name in enumerate(passed) if name.endswith("before-commit")]
    assert befores[1:] == list(range(befores[1], befores[1] + 99)), "one alone, then the other 99 in one commit"


async def test_a_commit_is_on_disk_before_it_is_answered(shelf: Shelf) -> None:
    """In the words of the one connection that writes: 2 is FULL. What that means on the wire, strace shows."""
    assert await shelf.db.write(lambda tx: tx.execute(text("PRAGMA synchronous")).scalar()) == 2
    assert await shelf.db.write(lambda tx: tx.execute(text("PRAGMA journal_mode")).scalar()) == "wal"


async def test_a_file_that_is_locked_for_too_long_is_told_and_nothing_stands(shelf: Shelf) -> None:
    other = sqlite3.connect(str(shelf.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    ends = await asyncio.gather(*(shelf.db.write(partial(note, id_=f"{n}")) for n in range(3)), return_exceptions=True)
    assert [type(end) for end in ends] == [Unavailable] * 3
    assert isinstance(ends[0], Unavailable)
    assert ends[0].headers == {"Retry-After": "5"}
    assert await shelf.notes() == [], "but reading goes on"

    other.execute("ROLLBACK")
    await shelf.db.write(partial(note, id_="later"))
    assert await shelf.notes() == ["later"]
    other.close()


async def test_what_a_write_has_read_stays_true_until_it_is_done(shelf: Shelf) -> None:
    """No other program can write between its reading and its writing: BEGIN IMMEDIATE, from the first moment on."""

    def work(tx: Tx) -> None:
        assert tx.execute(select(table(RefusalRow).c.id)).all() == []
        other = sqlite3.connect(str(shelf.url.database), isolation_level=None, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO balances VALUES ('ws', 1, 0, 0)")
        other.close()
        note(tx, "a")

    await shelf.db.write(work)
    assert await shelf.notes() == ["a"]


async def test_a_file_that_is_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with place_for("sqlite", tmp_path) as url:
        async with opened(url) as shelf:
            other = sqlite3.connect(str(url.database), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(shelf.db.write(partial(note, id_="a")))
            assert not (await asyncio.wait([waiting], timeout=0.1))[0]
            other.execute("COMMIT")
            other.close()
            await waiting
            assert await shelf.notes() == ["a"]


async def test_a_database_that_may_not_grow_is_full_and_heals_alone(tmp_path: Path) -> None:
    """`max_page_count` is the portable way to a full disk. It belongs to a connection."""
    most = 80
    with place_for("sqlite", tmp_path) as url:
        async with opened(url) as shelf:

            def limit(connection: sqlite3.Connection, _record: object) -> None:
                connection.execute(f"PRAGMA max_page_count = {most}")

            def limit_now(tx: Tx) -> None:
                tx.execute(text(f"PRAGMA max_page_count = {most}"))

            event.listen(shelf.db._engine._writer, "connect", limit)  # type: ignore[attr-defined]
            await shelf.db.write(limit_now)
            works = (partial(note, id_="small 1"), partial(_large, "large"), partial(note, id_="small 2"))
            ends = await asyncio.gather(*map(shelf.db.write, works), return_exceptions=True)

            assert [type(end) for end in ends] == [type(None), StorageFull, type(None)], "its neighbours found room"
            assert (await shelf.notes(), await shelf.seqs()) == (["small 1", "small 2"], [])
            most = 8000
            await shelf.db.write(limit_now)
            await shelf.db.write(partial(_large, "large"))
            assert (await shelf.notes(), await shelf.seqs()) == (["large", "small 1", "small 2"], [1])


async def test_a_full_disk_refuses_cleanly_and_heals_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2M") as folder:
        url = make_url(f"sqlite:///{folder / 'darkroom.db'}")
        make_tables(url)
        async with opened(url) as shelf:
            ends = [await _outcome(shelf.db.write(partial(_large, f"{n:02}"))) for n in range(6)]
            stood = ends.count(None)
            assert ends[:stood] == [None] * stood
            assert {type(end) for end in ends[stood:]} == {StorageFull}
            assert stood > 0

            names = [f"{n:02}" for n in range(stood)]
            assert (await shelf.notes(), await shelf.seqs()) == (names, list(range(1, stood + 1)))

            _mount("remount,size=20M", folder)
            await shelf.db.write(partial(_large, "99"))
            assert await shelf.notes() == [*names, "99"]
        assert sqlite3.connect(str(url.database)).execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4M") as folder:
        url = make_url(f"sqlite:///{folder / 'darkroom.db'}")
        make_tables(url)
        _mount("remount,ro", folder)
        with pytest.raises(Unavailable, match="read-only"):
            async with opened(url):
                pass

        _mount("remount,rw", folder)
        async with opened(url) as shelf:
            await shelf.db.write(partial(note, id_="a"))
            assert await shelf.notes() == ["a"]


async def _outcome(write: Awaitable[None]) -> Problem | None:
    try:
        await write
    except Problem as problem:
        return problem
    return None


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    try:
        _mount(f"size={size}", folder, "-t", "tmpfs", "tmpfs")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{KERNEL_REFUSES} to mount a tmpfs: {getattr(error, 'stderr', None) or error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(options: str, folder: Path, *more: str) -> None:
    subprocess.run(["mount", *more[:2], "-o", options, *more[2:], str(folder)], check=True, capture_output=True)


async def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("I am a file")
    with pytest.raises((Unavailable, OSError)):
        async with opened(make_url(f"sqlite:///{tmp_path / 'data' / 'darkroom.db'}")):
            pass


HOLDER = """
import sys
from pathlib import Path
from app.store.inbox import RefusalRow
from app.store.sqlite import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_a_data_folder_has_one_user_until_that_one_dies(tmp_path: Path) -> None:
    def hold() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    mine = FolderLock(tmp_path)
    with hold() as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert not mine.acquire()
        other.kill()
        other.wait()
        assert mine.acquire()

    second = FolderLock(tmp_path)
    assert not second.acquire()
    mine.release()
    assert second.acquire()
    second.release()


def test_sqlalchemy_as_it_comes_loses_updates_here(tmp_path: Path) -> None:
    """The negative control: two who read the same balance and then write, each told that all went well."""
    with place_for("sqlite", tmp_path) as url:
        balances = table(BalanceRow)
        engine = create_engine(url)
        with Session(engine) as session:
            session.execute(insert(balances).values(workspace="ws", available=10, held=0, spent=0))
            session.commit()
        with Session(engine) as one, Session(engine) as two:
            seen = [session.execute(select(balances.c.available)).scalar_one() for session in (one, two)]
            for session, available in zip((one, two), seen, strict=True):
                session.execute(update(balances).values(available=available - 1))
                session.commit()
        with Session(engine) as session:
            assert session.execute(select(balances.c.available)).scalar_one() == 9, "two of 10 went, one is missing"
        engine.dispose()


def test_a_reader_that_turns_writer_is_refused_here(tmp_path: Path) -> None:
    """The other negative control: BEGIN without IMMEDIATE loses nothing, but fails as soon as somebody else wrote."""
    with place_for("sqlite", tmp_path) as url:
        one, two = (sqlite3.connect(str(url.database), isolation_level=None) for _ in range(2))
        one.execute("PRAGMA journal_mode=WAL")
        one.execute("BEGIN")
        one.execute("SELECT * FROM balances").fetchall()
        two.execute("INSERT INTO balances VALUES ('ws', 1, 0, 0)")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            one.execute("INSERT INTO balances VALUES ('other', 1, 0, 0)")
        one.close()
        two.close()
