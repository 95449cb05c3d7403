"""The runner: whatever a handler does, its task is done, tried again, set aside, or somebody else's; never lost. And
the runner never spins."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.adapters.clock import SystemClock
from app.core.errors import StorageFull, Unavailable
from app.ports import EVERYTHING
from app.store import tasks
from app.store.advance import Moved
from app.store.columns import table
from app.store.database import Pending
from app.store.runner import Limits, Runner
from app.store.tasks import Lane, LeaseLost, NewTask, Task, TaskRow
from app.store.write import Tx
from tests.databases import Shelf, in_seconds, note, opened, place_for
from tests.waiting import until

T = table(TaskRow)
LIMITS = Limits(at_once=8, lease=30.0, heartbeat=10.0, poll=1.0, deaths=3)
DEAF = 0.05
"""A poll interval for tests in which nobody nudges."""

Handler = Callable[[Task], Awaitable[None]]


@dataclass
class Workshop:
    """One runner at work, what its handlers saw, and a deadline on stopping it."""

    runner: Runner
    running: asyncio.Task[None]
    seen: list[Task] = field(default_factory=list)

    def names(self) -> list[str]:
        return [task.key for task in self.seen]


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for("sqlite", tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf


@asynccontextmanager
async def at_work(
    shelf: Shelf,
    handlers: Mapping[str, Handler],
    limits: Limits = LIMITS,
    *,
    pace: float = 1.0,
    alone: bool = False,
    worker: str = "me",
) -> AsyncIterator[Workshop]:
    seen: list[Task] = []

    def watched(handler: Handler) -> Handler:
        async def handle(task: Task) -> None:
            seen.append(task)
            await handler(task)

        return handle

    runner = Runner(
        shelf.db,
        SystemClock(pace),
        limits,
        worker=worker,
        handlers={kind: watched(handler) for kind, handler in handlers.items()},
        mourners={"jobs": "jobs.mourn"},
        alone=alone,
        dice=random.Random(1),
    )
    workshop = Workshop(runner, asyncio.ensure_future(runner.run()), seen)
    try:
        yield workshop
    finally:
        await runner.stop(0.2)
        await asyncio.wait_for(workshop.running, 5)


async def stored(shelf: Shelf, *keys: str, kind: str = "jobs.do", **more: Any) -> None:
    def store(tx: Tx) -> None:
        for key in keys:
            tx.spawn(NewTask(kind, key, "ws", {"job": key}, **more))

    await shelf.db.write(store)


async def rows(shelf: Shelf, **wanted: Any) -> dict[str, Any]:
    query = select(T)
    for name, value in wanted.items():
        query = query.where(T.c[name] == value)
    return {row.key: row for row in await shelf.rows(query)}


async def state(shelf: Shelf, key: str = "key") -> str:
    return str((await rows(shelf, key=key))[key].state)


async def ends(shelf: Shelf, key: str = "key", state_: str = "done") -> Any:
    async def ended() -> Any:
        row = (await rows(shelf, key=key)).get(key)
        return row if row is not None and row.state == state_ else None

    return await until(ended)


async def nothing(_task: Task) -> None:
    pass


def fails(*errors: BaseException) -> Handler:
    """With each of these in turn, and then no more."""
    left = list(errors)

    async def handle(_task: Task) -> None:
        if left:
            raise left.pop(0)

    return handle


async def test_a_handler_that_returns_has_finished_its_task(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.do": nothing}) as workshop:
        await stored(shelf, "key")
        workshop.runner.hear("tasks")
        row = await ends(shelf)

    assert workshop.names() == ["key"]
    assert row.finished_at is not None


async def test_a_handler_may_finish_its_task_in_a_write_of_its_own(shelf: Shelf) -> None:
    async def handle(task: Task) -> None:
        def work(tx: Tx) -> None:
            note(tx, task.key)
            tx.finish(task)

        await shelf.db.write(work)

    async with at_work(shelf, {"jobs.do": handle}, replace(LIMITS, poll=DEAF)):
        await stored(shelf, "a", "b")
        await ends(shelf, "a")
        await ends(shelf, "b")
    assert await shelf.notes() == ["a", "b"]


async def test_with_every_nudge_lost_only_the_poll_interval_is(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.do": nothing}, replace(LIMITS, poll=DEAF)):
        await stored(shelf, "key")
        await ends(shelf)


async def test_it_looks_when_it_is_told_of_tasks_or_that_nudges_may_have_been_lost(shelf: Shelf) -> None:
    async with at_work(shelf, {}) as workshop:
        runner = workshop.runner
    for topic, looks in (("w:ws", False), ("tasks", True), (EVERYTHING, True)):
        runner._nudged.clear()
        runner.hear(topic)
        assert runner._nudged.is_set() is looks


async def test_what_falls_due_between_two_polls_is_not_kept_waiting(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.do": nothing}, replace(LIMITS, poll=60)) as workshop:
        await stored(shelf, "key", due_at=in_seconds(0.3))
        workshop.runner.hear("tasks")
        await ends(shelf)


async def test_a_fault_is_tried_again_with_growing_waits_and_then_set_aside(shelf: Shelf) -> None:
    faults = [ValueError(f"fault {n}") for n in range(9)]
    async with at_work(shelf, {"jobs.do": fails(*faults), "jobs.mourn": nothing}, pace=100) as workshop:
        await stored(shelf, "key")
        row = await ends(shelf, state_="parked")
        (mourner,) = (await until(lambda: rows(shelf, kind="jobs.mourn"))).values()
        await ends(shelf, mourner.key)

    assert [task.tries for task in workshop.seen if task.key == "key"] == [0, 1, 2, 3, 4]
    assert "fault 4" in row.last_error
    assert mourner.payload["payload"] == {"job": "key"}
    assert mourner.payload["kind"] == "jobs.do"
    assert "fault 4" in mourner.payload["error"]


async def test_the_waits_between_tries_grow(shelf: Shelf) -> None:
    before = in_seconds(0)
    async with at_work(shelf, {"jobs.do": fails(*[ValueError()] * 9)}, replace(LIMITS, poll=DEAF)):
        await stored(shelf, "first")
        await until(lambda: _with_error(shelf, "first"))
        first = (await rows(shelf))["first"]
        await shelf.db.write(lambda tx: tx.execute(update(T).values(tries=3, due_at=in_seconds(0), last_error=None)))
        await until(lambda: _with_error(shelf, "first"))
        fourth = (await rows(shelf))["first"]

    assert 0.5 <= (first.due_at - before).total_seconds() <= 5
    assert 60 <= (fourth.due_at - before).total_seconds() <= 190
    assert (first.tries, fourth.tries) == (1, 4)


async def _with_error(shelf: Shelf, key: str) -> bool:
    return (await rows(shelf))[key].last_error is not None


async def test_what_is_away_is_waited_for_and_never_counted(shelf: Shelf) -> None:
    """An outage of fal, of the storage or of the database itself parks nothing, however often it is met."""
    away = [Unavailable("gone"), StorageFull(), Unavailable("slow", headers={"Retry-After": "1"})] * 5
    async with at_work(shelf, {"jobs.do": fails(*away)}, pace=1000) as workshop:
        await stored(shelf, "key")
        row = await ends(shelf)

    assert [task.tries for task in workshop.seen] == [0] * 16
    assert row.tries == 0


async def test_what_has_counted_for_reasons_of_its_own_still_waits_for_what_is_away(shelf: Shelf) -> None:
    """A picture whose download was put off many times is not given up because the database fails once."""
    left: list[Exception] = [Unavailable("locked"), StorageFull()]

    async def put_off_or_away(task: Task) -> None:
        if task.tries == 0:
            await shelf.db.write(lambda tx: tx.again(task, tx.now, tries=7))
        elif left:
            raise left.pop()

    async with at_work(shelf, {"jobs.do": put_off_or_away}, pace=1000) as workshop:
        await stored(shelf, "key")
        await ends(shelf)

    assert [task.tries for task in workshop.seen] == [0, 7, 7, 7]


async def test_what_is_away_says_itself_when_to_come_back(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.do": fails(Unavailable(headers={"Retry-After": "100"}))}) as workshop:
        await stored(shelf, "key")
        workshop.runner.hear("tasks")
        await until(lambda: _with_error(shelf, "key"))

    assert in_seconds(40) < (await rows(shelf))["key"].due_at < in_seconds(160)


async def test_work_that_moved_on_without_us_is_looked_at_again_quietly(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.do": fails(*[Moved("elsewhere")] * 7)}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "key")
        row = await ends(shelf)

    assert [task.tries for task in workshop.seen] == [0] * 8
    assert row.last_error is None


async def test_work_that_always_moves_does_not_spin(shelf: Shelf) -> None:
    async def moved(_task: Task) -> None:
        raise Moved

    async with at_work(shelf, {"jobs.do": moved}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "key")
        await until(lambda: len(workshop.seen) >= 3)
        began, before = asyncio.get_running_loop().time(), len(workshop.seen)
        await until(lambda: len(workshop.seen) >= before + 5)
        assert asyncio.get_running_loop().time() - began > 0.2


async def test_a_lost_lease_is_no_word_of_ours(shelf: Shelf) -> None:
    """Somebody else has the task: it is neither finished nor put back by us."""

    async def robbed(task: Task) -> None:
        await shelf.db.write(lambda tx: tx.execute(update(T).values(worker="other", fence=task.fence + 1)))
        raise LeaseLost(task.key)

    async with at_work(shelf, {"jobs.do": robbed, "jobs.slow": robbed}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "key")
        await until(lambda: workshop.seen)
        await until(lambda: workshop.runner.in_hand == 0)
        row = (await rows(shelf))["key"]
        assert (row.state, row.worker, row.tries, row.last_error) == ("leased", "other", 0, None)


async def test_a_kind_nobody_here_knows_waits_for_a_process_that_does(shelf: Shelf) -> None:
    """A newer version runs beside us and stores tasks that we have never heard of."""
    async with at_work(shelf, {"jobs.do": nothing}, replace(LIMITS, poll=DEAF), pace=100):
        await stored(shelf, "key", kind="jobs.of_tomorrow")
        await until(lambda: _with_error(shelf, "key"))
        first = (await rows(shelf))["key"]
        await until(lambda: _claimed_again(shelf, first.fence + 6))
        assert (await rows(shelf))["key"].tries == 0

    async with at_work(shelf, {"jobs.of_tomorrow": nothing}, replace(LIMITS, poll=DEAF), pace=100):
        await ends(shelf)


async def _claimed_again(shelf: Shelf, fence: int) -> bool:
    return bool((await rows(shelf))["key"].fence >= fence)


async def test_a_task_whose_putting_back_failed_comes_back_when_its_lease_is_over(shelf: Shelf) -> None:
    """The handler failed because something is away, and the database is away too."""
    away = {"again"}
    submit = shelf.db._engine.submit

    def faulty(pending: Pending) -> None:
        if away and "_failed" in pending.work.__qualname__:
            away.clear()
            pending.future.set_exception(Unavailable("away"))
        else:
            submit(pending)

    shelf.db._engine.submit = faulty  # type: ignore[method-assign]
    quick = replace(LIMITS, lease=0.4, heartbeat=0.1, poll=DEAF)
    async with at_work(shelf, {"jobs.do": fails(ValueError())}, quick) as workshop:
        await stored(shelf, "key")
        row = await ends(shelf)

    assert not away
    assert [task.deaths for task in workshop.seen] == [0, 0]
    assert row.deaths == 0


async def test_a_claim_whose_answer_was_lost_is_not_ours_for_ever(shelf: Shelf) -> None:
    submit, lost = shelf.db._engine.submit, asyncio.Event()

    def faulty(pending: Pending) -> None:
        if lost.is_set() or "_claim" not in pending.work.__qualname__:
            submit(pending)
            return
        answered = asyncio.get_running_loop().create_future()
        answered.add_done_callback(lambda done: lost.set() if done.result() else None)
        answered.add_done_callback(lambda _done: pending.future.set_exception(Unavailable("nobody knows")))
        submit(replace(pending, future=answered))

    shelf.db._engine.submit = faulty  # type: ignore[method-assign]
    quick = replace(LIMITS, lease=0.4, heartbeat=0.1, poll=DEAF)
    async with at_work(shelf, {"jobs.do": nothing}, quick) as workshop:
        await stored(shelf, "key")
        await ends(shelf)

    assert lost.is_set()
    assert len(workshop.seen) == 1


async def test_a_long_task_is_kept_alive_by_heartbeats(shelf: Shelf) -> None:
    go_on = asyncio.Event()

    async def long(_task: Task) -> None:
        await go_on.wait()

    quick = replace(LIMITS, lease=0.3, heartbeat=0.05, poll=DEAF)
    async with (
        at_work(shelf, {"jobs.do": long}, quick) as workshop,
        at_work(shelf, {"jobs.do": nothing}, quick, worker="other") as other,
    ):
        await stored(shelf, "key", "key 2")
        await until(lambda: len(workshop.seen) + len(other.seen) == 2)
        renewed = {row.lease_until for row in (await rows(shelf)).values() if row.state == "leased"}
        later = in_seconds(0.9)
        await until(lambda: in_seconds(0) > later)
        assert len(workshop.seen) + len(other.seen) == 2
        assert not renewed & {row.lease_until for row in (await rows(shelf)).values()}
        go_on.set()
        await ends(shelf, "key")
        await ends(shelf, "key 2")


async def test_the_third_death_sets_a_task_aside_and_tells_who_waits_for_it(shelf: Shelf) -> None:
    await stored(shelf, "key")
    await shelf.db.write(lambda tx: tx.execute(update(T).values(deaths=3, lane=int(Lane.SUSPECT))))
    async with at_work(shelf, {"jobs.do": nothing, "jobs.mourn": nothing}, replace(LIMITS, poll=DEAF)) as workshop:
        row = await ends(shelf, state_="parked")
        (mourner,) = (await until(lambda: rows(shelf, kind="jobs.mourn"))).values()
        await ends(shelf, mourner.key)

    assert "key" not in workshop.names(), "it is not run again"
    assert mourner.payload["deaths"] == 3
    assert row.finished_at is None


async def test_a_mourner_that_fails_is_not_mourned(shelf: Shelf) -> None:
    async with at_work(shelf, {"jobs.mourn": fails(*[ValueError()] * 9)}, pace=100):
        await stored(shelf, "key", kind="jobs.mourn")
        await ends(shelf, state_="parked")
    assert list(await rows(shelf)) == ["key"]


async def test_suspects_run_one_at_a_time_while_others_go_on(shelf: Shelf) -> None:
    go_on, at_once = asyncio.Event(), Counter[str]()
    most: list[int] = []

    async def suspect(_task: Task) -> None:
        at_once["suspects"] += 1
        most.append(at_once["suspects"])
        await go_on.wait()
        at_once["suspects"] -= 1

    async with at_work(shelf, {"jobs.suspect": suspect, "jobs.do": nothing}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "1", "2", "3", kind="jobs.suspect", lane=Lane.SUSPECT)
        await until(lambda: most)
        await stored(shelf, "other")
        await ends(shelf, "other")
        assert most == [1]
        go_on.set()
        for key in "123":
            await ends(shelf, key)

    assert most == [1, 1, 1]
    assert len(workshop.seen) == 4


async def test_beginnings_leave_room_for_what_is_already_paid_for(shelf: Shelf) -> None:
    go_on = asyncio.Event()

    async def slow(_task: Task) -> None:
        await go_on.wait()

    async with at_work(shelf, {"jobs.begin": slow, "jobs.do": nothing}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, *map(str, range(20)), kind="jobs.begin", lane=Lane.NORMAL)
        await until(lambda: workshop.runner.in_hand == 6)
        await stored(shelf, "line")
        await ends(shelf, "line")
        assert workshop.runner.in_hand == LIMITS.beginnings == 6
        go_on.set()
        await until(lambda: len(workshop.seen) == 21)


async def test_the_lanes_are_served_in_their_order(shelf: Shelf) -> None:
    one = replace(LIMITS, at_once=1, poll=DEAF)
    for lane in reversed(Lane):
        await stored(shelf, lane.name, lane=lane, due_at=in_seconds(-int(lane)))
    async with at_work(shelf, {"jobs.do": nothing}, one) as workshop:
        await until(lambda: len(workshop.seen) == len(Lane))

    assert workshop.names() == [lane.name for lane in Lane]


async def test_nothing_spins_while_all_that_is_due_waits_for_room(shelf: Shelf) -> None:
    go_on = asyncio.Event()
    writes = Counter[str]()
    submit = shelf.db._engine.submit

    def counted(pending: Pending) -> None:
        writes[pending.work.__name__] += 1
        submit(pending)

    async def slow(_task: Task) -> None:
        await go_on.wait()

    shelf.db._engine.submit = counted  # type: ignore[method-assign]
    async with at_work(shelf, {"jobs.begin": slow, "jobs.do": slow}, replace(LIMITS, poll=0.2)) as workshop:
        await stored(shelf, *map(str, range(20)), kind="jobs.begin", lane=Lane.NORMAL)
        await until(lambda: workshop.runner.in_hand == 6)
        writes.clear()
        later = in_seconds(1.0)
        await until(lambda: in_seconds(0) > later)
        assert sum(writes.values()) <= 14, writes
        go_on.set()


async def test_stopping_waits_for_what_is_in_hand_and_takes_nothing_new(shelf: Shelf) -> None:
    go_on = asyncio.Event()

    async def slow(_task: Task) -> None:
        await go_on.wait()

    async with at_work(shelf, {"jobs.do": slow}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "key")
        await until(lambda: workshop.seen)
        stopping = asyncio.ensure_future(workshop.runner.stop(5))
        await stored(shelf, "too late")
        workshop.runner.hear("tasks")
        assert not (await asyncio.wait([stopping], timeout=0.1))[0]
        go_on.set()
        await stopping

    assert workshop.names() == ["key"]
    assert (await state(shelf), await state(shelf, "too late")) == ("done", "ready")


async def test_what_does_not_end_in_time_is_given_back(shelf: Shelf) -> None:
    async def endless(_task: Task) -> None:
        await asyncio.Event().wait()

    async with at_work(shelf, {"jobs.do": endless}, replace(LIMITS, poll=DEAF)) as workshop:
        await stored(shelf, "key")
        await until(lambda: workshop.seen)
        await workshop.runner.stop(0.05)

    row = (await rows(shelf))["key"]
    assert (row.state, row.deaths, row.tries, row.worker) == ("ready", 0, 0, None)


async def test_what_is_claimed_in_the_moment_of_stopping_goes_back(shelf: Shelf) -> None:
    """The claim is on its way to the database when we are told to stop."""
    submit, claiming = shelf.db._engine.submit, asyncio.Event()
    held: list[Pending] = []

    def slow(pending: Pending) -> None:
        if "_claim" in pending.work.__qualname__ and not claiming.is_set():
            held.append(pending)
            claiming.set()
        else:
            submit(pending)

    await stored(shelf, "key")
    shelf.db._engine.submit = slow  # type: ignore[method-assign]
    async with at_work(shelf, {"jobs.do": nothing}) as workshop:
        await claiming.wait()
        stopping = asyncio.ensure_future(workshop.runner.stop(5))
        assert not (await asyncio.wait([stopping], timeout=0.05))[0]
        submit(held[0])
        await stopping

    assert workshop.seen == []
    assert await state(shelf) == "ready"


async def test_who_is_alone_inherits_at_once(shelf: Shelf) -> None:
    await stored(shelf, "key")
    await shelf.db.write(lambda tx: tasks.claim(tx, "dead", Lane.LINE, 1, now=in_seconds(0), until=in_seconds(1000)))
    async with at_work(shelf, {"jobs.do": nothing}, alone=True) as workshop:
        await ends(shelf)
    assert [task.deaths for task in workshop.seen] == [1]


async def test_a_beat_that_breaks_ends_the_runner_and_not_only_the_leases(shelf: Shelf) -> None:
    """Work without leases is done twice by others: better no work at all, and a process that says so."""
    submit = shelf.db._engine.submit

    def broken(pending: Pending) -> None:
        if "_renew" in getattr(getattr(pending.work, "func", None), "__name__", ""):
            pending.future.set_exception(ValueError("nobody foresaw this"))
        else:
            submit(pending)

    shelf.db._engine.submit = broken  # type: ignore[method-assign]
    runner = Runner(
        shelf.db,
        SystemClock(),
        replace(LIMITS, heartbeat=0.01),
        worker="me",
        handlers={},
        mourners={},
        alone=False,
        dice=random.Random(1),
    )
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await asyncio.wait_for(runner.run(), 5)
    await runner.stop(0.1)


async def test_eight_runners_on_one_postgres_do_each_task_once(tmp_path: Path) -> None:
    done: Counter[str] = Counter()
    with place_for("postgresql", tmp_path) as url:
        async with opened(url) as shelf:

            async def handle(task: Task) -> None:
                done[task.key] += 1
                await shelf.db.write(partial(_note, task))

            await stored(shelf, *(f"{n:03}" for n in range(150)))
            async with asyncio.TaskGroup() as group:
                over = asyncio.Event()

                async def one(n: int) -> None:
                    async with at_work(shelf, {"jobs.do": handle}, replace(LIMITS, poll=DEAF), worker=f"worker {n}"):
                        await over.wait()

                for n in range(8):
                    group.create_task(one(n))

                async def finished() -> bool:
                    return len(await rows(shelf, state="done")) == 150

                await until(finished, within=20)
                over.set()
            assert set(done.values()) == {1}
            assert await shelf.notes() == sorted(done)


def _note(task: Task, tx: Tx) -> None:
    note(tx, task.key)
    tx.finish(task)
