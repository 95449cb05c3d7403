"""What only PostgreSQL can do to us: rivals, killed backends, a wire cut during COMMIT, a server that stops.
Whatever happens, a write is applied once or not at all, and its caller knows which."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, create_engine, insert, make_url, select, text, update

from app.core.errors import Unavailable
from app.core.events import Topic
from app.core.ids import derived
from app.credits.ledger import Hold, grant, hold
from app.credits.model import BalanceRow
from app.store.columns import table
from app.store.inbox import RefusalRow
from app.store.prepared import Prepared
from app.store.standstill import break_locks
from app.store.tasks import Lane, NewTask, TaskRow, claim
from app.store.write import Tx
from tests.contracts.postgres import Cluster, cluster, wire_to
from tests.databases import POSTGRES, Shelf, in_seconds, make_tables, note, opened, place_for, record, schema_on
from tests.waiting import until


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for("postgresql", tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf


@pytest.fixture(scope="module")
def own_server() -> Iterator[Cluster]:
    with cluster() as ours:
        make_tables(ours.url)
        yield ours


class Once:
    """True the first time it is asked with something that matches."""

    def __init__(self, matches: Callable[[Any], bool] = lambda _given: True) -> None:
        self._matches = matches
        self.happened = False

    def __call__(self, given: Any = None) -> bool:
        if self.happened or not self._matches(given):
            return False
        self.happened = True
        return True


@pytest.mark.parametrize("fate", ["before", "after"])
async def test_a_wire_cut_during_commit_applies_the_write_once(fate: str, tmp_path: Path) -> None:
    """All eight writers at once, so that each needs a second connection to ask what became of the first."""
    together, meeting = threading.Barrier(8), threading.Event()

    def probe(name: str) -> None:
        if meeting.is_set() and name == "test_database_postgres.both:before-commit":
            if together.wait(5) == 0:
                meeting.clear()
            together.wait(5)

    with place_for("postgresql", tmp_path) as url:
        async with wire_to(url) as wire:
            through = url.set(host="127.0.0.1", port=wire.port)
            through = through.difference_update_query(["host"])
            async with opened(through, probe=probe) as shelf:
                await asyncio.gather(*(shelf.db.write(partial(note, id_=f"warm {n}")) for n in range(8)))
                meeting.set()
                wire.cut = lambda said: fate if b"COMMIT" in said and wire.cuts < 8 else None

                def both(tx: Tx, n: int) -> int:
                    note(tx, f"{n}")
                    record(tx, workspace=f"{n}")  # one for all would let only one of them near its commit
                    return n

                async with asyncio.timeout(20):
                    values = await asyncio.gather(*(shelf.db.write(partial(both, n=n)) for n in range(8)))

                assert wire.cuts == 8
                assert values == list(range(8))
                assert (await shelf.notes())[:8] == [f"{n}" for n in range(8)]
                assert [await shelf.seqs(f"{n}") for n in range(8)] == [[1]] * 8


async def test_a_backend_killed_at_the_door_of_commit_is_replaced(tmp_path: Path) -> None:
    pids: list[int] = []
    killed = Once()

    def probe(name: str) -> None:
        if name.endswith("before-commit") and killed():
            _kill(pids[-1])

    def work(tx: Tx) -> None:
        pids.append(tx.execute(text("SELECT pg_backend_pid()")).scalar_one())
        note(tx, "a")
        record(tx)

    with place_for("postgresql", tmp_path) as url:
        async with opened(url, probe=probe) as shelf:
            await shelf.db.write(work)
            assert (len(pids), await shelf.notes(), await shelf.seqs()) == (2, ["a"], [1])


async def test_a_backend_killed_in_the_middle_of_a_write_is_replaced(shelf: Shelf) -> None:
    runs: list[int] = []

    def work(tx: Tx) -> None:
        note(tx, "a")
        runs.append(tx.execute(text("SELECT pg_backend_pid()")).scalar_one())
        if len(runs) == 1:
            _kill(runs[0])
        record(tx)
        note(tx, "b")

    await shelf.db.write(work)
    assert (len(runs), await shelf.notes(), await shelf.seqs()) == (2, ["a", "b"], [1])


def _kill(pid: int) -> None:
    engine = create_engine(make_url(POSTGRES), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    engine.dispose()


_NOTES = table(RefusalRow)
_CHANGE = update(_NOTES).values(detail=bindparam("by"))
_CHANGE_AHEAD, _LOOK = Prepared(_CHANGE), Prepared(select(_NOTES.c.id))


def _change(tx: Tx, by: str) -> None:
    tx.execute(_CHANGE, {"by": by})


def _change_ahead(tx: Tx, by: str) -> None:
    """As the line's own writes do it: sent ahead, and then something is looked at."""
    tx.execute(_CHANGE_AHEAD, {"by": by})
    assert tx.execute(_LOOK).all()


@pytest.mark.parametrize("change", [_change, _change_ahead])
async def test_who_stands_still_in_a_write_does_not_keep_its_locks(
    change: Callable[[Tx, str], None], tmp_path: Path
) -> None:
    """A frozen process, as the server sees it: nothing more is said on the connection. Those who are busy, who have
    not stood for long, or who are of another installation, are left alone."""
    runs, stands, comes_to_itself = _Runs(), threading.Event(), threading.Event()

    def freezes(tx: Tx) -> None:
        runs.add()
        change(tx, "the frozen one")
        stands.set()
        assert comes_to_itself.wait(60)

    with place_for("postgresql", tmp_path) as url, place_for("postgresql", tmp_path) as elsewhere:
        async with opened(url) as frozen, opened(url) as rival, opened(elsewhere) as stranger:
            await rival.db.write(partial(note, id_="a"))
            async with asyncio.TaskGroup() as group:
                try:
                    late = group.create_task(frozen.db.write(freezes))
                    await asyncio.to_thread(stands.wait, 10)
                    waiting = [group.create_task(rival.db.write(lambda tx: change(tx, "a rival"))) for _ in range(8)]
                    await until(partial(_wait_for_locks, rival, len(waiting)), within=10)

                    assert await break_locks(rival.db, 60.0) == 0
                    assert await break_locks(stranger.db, 0.0) == 0
                    await until(lambda: break_locks(rival.db, 0.1), within=10)

                    await asyncio.wait_for(asyncio.gather(*waiting), 20)
                    assert not late.done()
                finally:
                    comes_to_itself.set()
            assert runs.count == 2
            assert [row.detail for row in await rival.rows(select(_NOTES.c.detail))] == ["the frozen one"]


async def _wait_for_locks(shelf: Shelf, number: int) -> bool:
    """Whether so many writes to these notes do."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE refusals%'"
    )
    return bool((await shelf.rows(query))[0][0] == number)


async def test_a_hint_is_tried_once_and_not_at_all_after_a_failure(shelf: Shelf) -> None:
    tried: list[str] = []

    def dies(tx: Tx, name: str) -> None:
        tried.append(name)
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    for name in ("first", "second"):
        shelf.db.hint(partial(dies, name=name), name)
        await until(lambda: not shelf.db._hints)
    assert tried == ["first"]
    await shelf.db.write(partial(note, id_="it is back"))
    shelf.db.hint(partial(note, id_="so hints are"), "third")
    await until(lambda: not shelf.db._hints)
    assert await shelf.notes() == ["it is back", "so hints are"]


async def test_a_serialization_failure_is_no_answer(shelf: Shelf) -> None:
    runs: list[int] = []

    def work(tx: Tx) -> int:
        runs.append(1)
        note(tx, f"{len(runs)}")
        if len(runs) < 3:
            tx.execute(text("DO $$ BEGIN RAISE EXCEPTION 'rivals' USING ERRCODE = '40001'; END $$"))
        return len(runs)

    assert await shelf.db.write(work) == 3
    assert await shelf.notes() == ["3"]


async def test_opposite_orders_in_a_naive_write_are_deadlocks_that_we_survive(shelf: Shelf) -> None:
    """The negative control of the next test: with a meeting between the two locks it must come to a deadlock."""
    runs, met = _Runs(), threading.Barrier(2)
    notes = table(RefusalRow)
    for name in "ab":
        await shelf.db.write(partial(note, id_=name))

    def naive(tx: Tx, first: str, second: str) -> None:
        runs.add()
        tx.execute(update(notes).where(notes.c.id == first).values(detail="x"))
        if runs.count <= 2:
            met.wait(5)
        tx.execute(update(notes).where(notes.c.id == second).values(detail="x"))

    await asyncio.gather(*(shelf.db.write(partial(naive, first=a, second=b)) for a, b in ("ab", "ba")))
    assert runs.count == 3


async def test_however_a_write_is_put_its_locks_are_taken_in_our_order(shelf: Shelf) -> None:
    """Events recorded first or last, in any order of workspaces, tasks in any order of keys: no write is run again."""
    runs = _Runs()
    await shelf.db.write(lambda tx: grant(tx, "xfer", "b", 1000, ""))

    def one(tx: Tx, n: int) -> None:
        runs.add()
        record(tx, workspace="a")
        tx.spawn(NewTask("kind", "y", "b"))
        tx.spawn(NewTask("kind", "x", "b"))
        hold(tx, Hold(derived("hold", "one", n), "b", 1, "job"), Topic("b"))
        record(tx, workspace="c")

    def other(tx: Tx, n: int) -> None:
        runs.add()
        tx.spawn(NewTask("kind", "x", "b"))
        hold(tx, Hold(derived("hold", "other", n), "b", 1, "job"), Topic("b"))
        tx.spawn(NewTask("kind", "y", "b"))
        for workspace in "cba":
            record(tx, workspace=workspace)

    def plain(tx: Tx, n: int, step: int) -> None:
        """Has no balance to queue up behind: only the order of keys and workspaces keeps it from its twin's throat."""
        runs.add()
        for workspace in "bca"[::step]:
            record(tx, workspace=workspace)
        for key in range(40)[::step]:
            tx.spawn(NewTask("kind", f"{n}:{key:02}", "b"))

    works = [
        work
        for n in range(25)
        for work in (partial(one, n=n), partial(other, n=n), partial(plain, n=n, step=1), partial(plain, n=n, step=-1))
    ]
    await asyncio.gather(*map(shelf.db.write, works))
    assert runs.count == 100


async def test_a_task_that_has_to_wait_for_its_twin_holds_no_counter(shelf: Shelf) -> None:
    """A finishes a task and then numbers an event; B stores a task of the same key, so it waits for A, and records too.
    If B took the counter before it waits, the two would wait for each other."""
    runs = _Runs()
    await shelf.db.write(lambda tx: tx.spawn(NewTask("kind", "key", "ws")))
    (task,) = await shelf.db.write(
        lambda tx: claim(tx, "me", Lane.LINE, 1, now=tx.database_now(), until=in_seconds(30))
    )
    finished, b_waits = threading.Event(), threading.Event()

    def a(tx: Tx) -> None:
        runs.add()
        tx.finish(task)
        finished.set()
        assert b_waits.wait(5)
        record(tx)

    def b(tx: Tx) -> None:
        runs.add()
        record(tx)
        tx.spawn(NewTask("kind", "key", "ws"))

    async def watch() -> None:
        await asyncio.to_thread(finished.wait, 5)
        async with asyncio.TaskGroup() as group:
            group.create_task(shelf.db.write(b))
            waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE :what")

            async def waiting() -> bool:
                return bool((await shelf.rows(waits.bindparams(what="INSERT INTO tasks%")))[0][0])

            await until(waiting)
            b_waits.set()

    await asyncio.gather(shelf.db.write(a), watch())
    tasks = table(TaskRow)
    assert runs.count == 2
    assert await shelf.seqs() == [1, 2]
    assert sorted(row.state for row in await shelf.rows(select(tasks.c.state))) == ["done", "ready"]


class _Runs:
    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.count += 1


async def test_reading_and_then_writing_loses_updates_here(shelf: Shelf) -> None:
    """The negative control of promises about money: what our statements must never do."""
    balances = table(BalanceRow)
    await shelf.db.write(lambda tx: tx.execute(insert(balances).values(workspace="ws", available=64, held=0, spent=0)))
    met = threading.Barrier(8)

    def naive(tx: Tx) -> None:
        seen = tx.execute(select(balances.c.available)).scalar_one()
        met.wait(5)
        tx.execute(update(balances).values(available=seen - 1))

    for _ in range(4):
        await asyncio.gather(*(shelf.db.write(naive) for _ in range(8)))
    assert [row.available for row in await shelf.rows(select(balances.c.available))] == [60]


async def test_a_server_that_stops_is_told_and_comes_back_without_a_restart_of_ours(own_server: Cluster) -> None:
    async with opened(own_server.url) as shelf:
        await shelf.db.write(partial(note, id_="before"))
        await shelf.db.check()
        await asyncio.to_thread(own_server.stop)

        for outcome in (shelf.db.write(partial(note, id_="during")), shelf.db.check(), shelf.notes()):
            with pytest.raises(Unavailable) as away:
                await outcome
            assert int(away.value.headers["Retry-After"]) > 0

        await asyncio.to_thread(own_server.start)
        await shelf.db.write(partial(note, id_="behind"))

        async def reads() -> bool:
            try:
                return await shelf.notes() == ["before", "behind"]
            except Unavailable:
                return False

        await until(reads)


async def test_a_server_restarted_under_load_loses_and_doubles_nothing(own_server: Cluster) -> None:
    """Every write that was answered stands once, every one that was refused does not stand, except where the server was
    away too long to tell; then the caller was told that."""
    with schema_on(own_server.url) as url:
        make_tables(url)
        stood: list[str] = []
        unknown: list[str] = []
        over = asyncio.Event()

        async with opened(url) as shelf:

            async def writer(me: int) -> None:
                n = 0
                while not over.is_set():
                    name, n = f"{me}:{n:05}", n + 1
                    try:
                        await shelf.db.write(partial(_note_and_record, name))
                        stood.append(name)
                    except Unavailable as problem:
                        if "not known" in problem.detail:
                            unknown.append(name)

            async with asyncio.TaskGroup() as group:
                for me in range(8):
                    group.create_task(writer(me))
                await until(lambda: len(stood) >= 60, within=20)
                await asyncio.to_thread(own_server.stop)
                await asyncio.to_thread(own_server.start)
                enough = len(stood) + 60
                await until(lambda: len(stood) >= enough, within=20)
                over.set()

            found = set(await shelf.notes())
            assert set(stood) <= found <= {*stood, *unknown}
            assert await shelf.seqs() == list(range(1, len(found) + 1))


def _note_and_record(name: str, tx: Tx) -> None:
    note(tx, name)
    record(tx)
