"""What every write and every read may rely on, whichever database is behind it."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.core.errors import NotFound, Unavailable
from app.credits.model import BalanceRow
from app.store.columns import table
from app.store.inbox import RefusalRow
from app.store.log import CounterRow
from app.store.tasks import NewTask, TaskRow
from app.store.write import Tx
from tests.databases import DATABASES, Shelf, note, opened, place_for, record
from tests.waiting import until


@pytest.fixture(params=DATABASES)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for(request.param, tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf


async def test_a_write_answers_with_the_value_of_its_function(shelf: Shelf) -> None:
    assert await shelf.db.write(lambda _tx: 7) == 7
    assert await shelf.db.write(lambda tx: tx.dialect) == shelf.db.dialect


async def test_a_write_stands_as_a_whole_or_not_at_all(shelf: Shelf) -> None:
    def half(tx: Tx) -> None:
        note(tx, "a")
        record(tx)
        tx.spawn(NewTask("kind", "key", "ws"))
        raise NotFound

    with pytest.raises(NotFound):
        await shelf.db.write(half)

    assert await shelf.notes() == []
    assert await shelf.seqs() == []
    assert await shelf.rows(select(table(TaskRow).c.id)) == []
    assert shelf.topics == []


async def test_a_write_that_fails_at_its_very_end_leaves_nothing_either(shelf: Shelf) -> None:
    """Events and tasks are stored after the function has returned."""

    def unfit(tx: Tx) -> None:
        note(tx, "a")
        record(tx)
        tx.spawn(NewTask("kind", "key", None))  # type: ignore[arg-type]

    with pytest.raises(IntegrityError):
        await shelf.db.write(unfit)

    assert (await shelf.notes(), await shelf.seqs()) == ([], [])


async def test_a_hint_is_written_while_nobody_waits_and_once_at_a_time(shelf: Shelf) -> None:
    stands = asyncio.Event()
    shelf.db.hint(lambda tx: note(tx, "first"), "looked", stands.set)
    shelf.db.hint(lambda tx: note(tx, "second"), "looked")
    assert not stands.is_set()
    await asyncio.wait_for(stands.wait(), 5)
    assert await shelf.notes() == ["first"]
    stands.clear()
    shelf.db.hint(lambda tx: note(tx, "third"), "looked", stands.set)
    await asyncio.wait_for(stands.wait(), 5)
    assert await shelf.notes() == ["first", "third"]


async def test_a_hint_that_cannot_be_written_troubles_nobody(shelf: Shelf) -> None:
    tried, stands = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(_tx: Tx) -> None:
        loop.call_soon_threadsafe(tried.set)
        raise Unavailable

    shelf.db.hint(away, "looked", stands.set)
    await asyncio.wait_for(tried.wait(), 5)
    await shelf.db.write(lambda tx: note(tx, "later"))

    def stands_the_next() -> bool:
        shelf.db.hint(lambda _tx: None, "looked", stands.set)
        return stands.is_set()

    assert not stands.is_set()
    await until(stands_the_next)
    assert await shelf.notes() == ["later"]


class Strange(BaseException):
    """Not even an Exception."""


async def test_what_a_write_raises_reaches_its_caller_and_no_neighbour(shelf: Shelf) -> None:
    def bad(error: BaseException, tx: Tx) -> None:
        note(tx, "bad")
        raise error

    def twice(tx: Tx) -> None:
        note(tx, "twice")
        note(tx, "twice")

    def exhausted(tx: Tx) -> None:
        note(tx, "bad")
        next(iter(()))

    works: list[Any] = [
        functools.partial(note, id_="1"),
        functools.partial(bad, ValueError("mine")),
        functools.partial(note, id_="2"),
        twice,
        exhausted,
        functools.partial(bad, Strange("mine")),
        functools.partial(note, id_="3"),
    ]
    ends = await asyncio.gather(*map(shelf.db.write, works), return_exceptions=True)

    assert [type(end) for end in ends] == [
        type(None),
        ValueError,
        type(None),
        IntegrityError,
        RuntimeError,
        Strange,
        type(None),
    ]
    assert await shelf.notes() == ["1", "2", "3"]
    await shelf.db.write(lambda tx: note(tx, "4"))


async def test_a_part_that_fails_is_undone_and_the_rest_stands(shelf: Shelf) -> None:
    def partly(tx: Tx) -> None:
        note(tx, "before")
        record(tx, 1)
        with suppress(NotFound), tx.whole():
            note(tx, "inside")
            record(tx, 2)
            tx.spawn(NewTask("kind", "key", "ws"))
            raise NotFound
        with tx.whole():
            note(tx, "kept")
            record(tx, 3)
        note(tx, "behind")

    await shelf.db.write(partly)

    assert await shelf.notes() == ["before", "behind", "kept"]
    assert await shelf.seqs() == [1, 2]
    assert await shelf.rows(select(table(TaskRow).c.id)) == []


async def test_after_an_answer_every_new_reader_sees_the_write(shelf: Shelf) -> None:
    for n in range(20):
        await shelf.db.write(functools.partial(note, id_=f"{n:02}"))
        assert len(await shelf.notes()) == n + 1


async def test_a_snapshot_does_not_see_what_came_after_it(shelf: Shelf) -> None:
    count = select(func.count()).select_from(table(RefusalRow))
    async with shelf.db.read() as session:
        connection = await session.connection()
        before = (await connection.execute(count)).scalar()
        await shelf.db.write(lambda tx: note(tx, "a"))
        assert ((await connection.execute(count)).scalar(), before) == (0, 0)

    assert len(await shelf.notes()) == 1


async def test_a_reader_cannot_write(shelf: Shelf) -> None:
    """And is told so as a fault of ours, not as bad weather that passes."""
    with pytest.raises(DBAPIError):
        async with shelf.db.read() as session:
            await (await session.connection()).execute(insert(table(CounterRow)).values(workspace="ws"))
    assert await shelf.rows(select(table(CounterRow))) == []


async def test_times_come_back_as_they_went_in(shelf: Shelf) -> None:
    before = datetime.now(UTC)
    asked: list[datetime] = []

    def timed(tx: Tx) -> None:
        asked.append(tx.now)
        tx.spawn(NewTask("kind", "key", "ws"))

    await shelf.db.write(timed)
    (row,) = await shelf.rows(select(table(TaskRow)))

    assert before <= asked[0] <= datetime.now(UTC)
    assert (row.due_at, row.created_at) == (asked[0], asked[0])
    assert row.due_at.tzinfo is not None


async def test_a_caller_who_went_away_changes_nothing(shelf: Shelf) -> None:
    gone = asyncio.ensure_future(shelf.db.write(lambda tx: note(tx, "a")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    await shelf.db.write(lambda tx: note(tx, "b"))

    assert "b" in await shelf.notes()


async def test_event_numbers_are_dense_in_every_workspace(shelf: Shelf) -> None:
    """Eight writers, several workspaces a write, and every third write fails after it took its place."""
    writes, each = 60 if shelf.db.dialect == "sqlite" else 40, 8

    async def writer(me: int) -> int:
        kept = 0
        for n in range(writes // each):

            def work(tx: Tx, n: int = n) -> None:
                for workspace in ("c", "a", "b") if (me + n) % 2 else ("b", "c"):
                    record(tx, n, workspace)
                    record(tx, n, workspace)
                if (me + n) % 3 == 0:
                    raise NotFound

            try:
                await shelf.db.write(work)
                kept += 1
            except NotFound:
                pass
        return kept

    kept = sum(await asyncio.gather(*map(writer, range(each))))
    counters = {row.workspace: row.seq for row in await shelf.rows(select(table(CounterRow)))}

    assert len(await shelf.seqs("b")) == 2 * kept
    for workspace in "abc":
        assert await shelf.seqs(workspace) == list(range(1, counters[workspace] + 1))


async def test_who_hears_of_a_commit_finds_it(shelf: Shelf) -> None:
    def both(tx: Tx) -> None:
        record(tx, workspace="one")
        record(tx, workspace="two")
        tx.spawn(NewTask("kind", "key", "ws"))

    await shelf.db.write(both)
    await shelf.db.write(lambda tx: note(tx, "quiet"))

    assert shelf.topics == ["tasks", "w:one", "w:two"]


async def test_both_sides_of_a_commit_can_be_watched(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    passed: list[str] = []
    for kind in DATABASES:
        folder = tmp_path / kind
        folder.mkdir()
        with place_for(kind, folder) as url:
            async with opened(url, probe=passed.append) as shelf:
                await shelf.db.write(functools.partial(note, id_="a"))
                with pytest.raises(IntegrityError):
                    await shelf.db.write(functools.partial(note, id_="a"))

    assert passed[:2] == ["databases.note:before-commit", "databases.note:after-commit"]
    assert passed.count("databases.note:after-commit") >= 2


async def test_after_closing_a_write_is_told_so(tmp_path: Path) -> None:
    for kind in DATABASES:
        folder = tmp_path / kind
        folder.mkdir()
        with place_for(kind, folder) as url:
            async with opened(url) as shelf:
                pending = [
                    asyncio.ensure_future(shelf.db.write(functools.partial(note, id_=f"{n}"))) for n in range(300)
                ]
                await asyncio.sleep(0)
            assert await asyncio.gather(*pending) == [None] * 300
            with pytest.raises(Unavailable):
                await shelf.db.write(functools.partial(note, id_="late"))


CHILD = """
import asyncio, sys
from functools import partial
from sqlalchemy import make_url
from tests.databases import note, opened

async def main():
    async with opened(make_url(sys.argv[1])) as one, opened(make_url(sys.argv[2])) as other:
        for n in range(10_000):
            for shelf in (one, other):
                await shelf.db.write(partial(note, id_=f"{n:05}"))
                print(n, flush=True)

asyncio.run(main())
"""


def answers_of_a_child_that_is_killed(*urls: URL) -> list[int]:
    """How many writes each database had answered when the process died."""
    arguments = [sys.executable, "-c", CHILD, *(url.render_as_string(hide_password=False) for url in urls)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        answers = [child.stdout.readline() for _ in range(51)]
        child.kill()
        answers += child.stdout.readlines()
    return [len(answers[n :: len(urls)]) for n in range(len(urls))]


async def test_what_was_answered_survives_the_death_of_the_process(tmp_path: Path) -> None:
    with place_for("sqlite", tmp_path) as one, place_for("postgresql", tmp_path) as other:
        answered = answers_of_a_child_that_is_killed(one, other)
        assert min(answered) >= 25
        for url, count in zip((one, other), answered, strict=True):
            async with opened(url) as shelf:
                found = await shelf.notes()
            assert found == [f"{n:05}" for n in range(len(found))]
            assert len(found) in {count, count + 1}


async def test_money_is_never_read_and_then_written(shelf: Shelf) -> None:
    """What a conditional UPDATE holds: exactly as many takers as there are credits."""
    balances = table(BalanceRow)
    await shelf.db.write(lambda tx: tx.execute(insert(balances).values(workspace="ws", available=25, held=0, spent=0)))
    take = (
        update(balances)
        .where(balances.c.workspace == "ws", balances.c.available >= 1)
        .values(available=balances.c.available - 1)
    )
    taken = await asyncio.gather(*(shelf.db.write(lambda tx: tx.execute(take).rowcount) for _ in range(40)))

    assert sum(taken) == 25
    assert [row.available for row in await shelf.rows(select(balances))] == [0]
