"""Tasks: each is claimed by one worker, finished by the one that has it, and never lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from app.store import tasks
from app.store.columns import table
from app.store.tasks import Lane, LeaseLost, NewTask, Task, TaskRow
from app.store.write import Tx
from tests.databases import DATABASES, Shelf, in_seconds, note, opened, place_for, record

T = table(TaskRow)
LEASE = 30.0


async def claimed(shelf: Shelf, worker: str = "me", lane: Lane = Lane.LINE, most: int = 10) -> list[Task]:
    return await shelf.db.write(
        lambda tx: tasks.claim(tx, worker, lane, most, now=in_seconds(0), until=in_seconds(LEASE))
    )


async def stored(shelf: Shelf, *new: NewTask) -> None:
    def store(tx: Tx) -> None:
        for task in new:
            tx.spawn(task)

    await shelf.db.write(store)


async def beat(shelf: Shelf, worker: str, held: Sequence[str] = (), *, later: float = 0.0) -> None:
    """A heartbeat of `worker`, so many seconds from now."""
    await shelf.db.write(
        lambda tx: tasks.heartbeat(tx, worker, held, now=in_seconds(later), until=in_seconds(later + LEASE))
    )


async def row(shelf: Shelf, key: str = "key") -> Any:
    (found,) = await shelf.rows(select(T).where(T.c.key == key))
    return found


def a_task(key: str = "key", *, due: float = 0.0, lane: Lane = Lane.LINE) -> NewTask:
    return NewTask("kind.do", key, "ws", {"n": 1}, in_seconds(due), lane)


async def test_a_task_comes_out_as_it_went_in(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    (task,) = await claimed(shelf)

    assert (task.kind, task.key, task.workspace, task.payload) == ("kind.do", "key", "ws", {"n": 1})
    assert (task.tries, task.deaths, task.fence, task.settled) == (0, 0, 1, False)
    assert await claimed(shelf, "other") == []


async def test_eight_workers_share_the_work_and_nothing_is_done_twice(shelf: Shelf) -> None:
    await stored(shelf, *(a_task(f"{n:03}") for n in range(200)))
    done: Counter[str] = Counter()

    async def worker(me: str) -> None:
        while found := await claimed(shelf, me, most=7):
            assert len(found) <= 7
            for task in found:
                await shelf.db.write(partial(_do, task))
                done[task.key] += 1

    await asyncio.gather(*(worker(f"worker {n}") for n in range(8)))

    assert done == {f"{n:03}": 1 for n in range(200)}
    assert await shelf.notes() == sorted(done)


def _do(task: Task, tx: Tx) -> None:
    note(tx, task.key)
    tx.finish(task)


async def test_a_claim_takes_no_more_than_it_asked_for_whatever_the_planner_thinks(shelf: Shelf) -> None:
    """A plan that runs the inner SELECT again for each outer row would take everything that is due."""
    await stored(shelf, *(a_task(f"{n:03}") for n in range(100)))

    def oddly(tx: Tx) -> list[Task]:
        if tx.dialect == "postgresql":
            for way in ("hashagg", "hashjoin", "mergejoin", "sort", "material", "indexscan", "bitmapscan"):
                tx.execute(text(f"SET LOCAL enable_{way} = off"))
        return tasks.claim(tx, "me", Lane.LINE, 5, now=in_seconds(0), until=in_seconds(LEASE))

    assert len(await shelf.db.write(oddly)) == 5


async def test_what_has_been_due_longest_comes_first_and_the_future_not_at_all(shelf: Shelf) -> None:
    dues = {"b": -5.0, "d": -1.0, "a": -9.0, "c": -3.0, "later": 60.0}
    await stored(shelf, *(a_task(key, due=due) for key, due in dues.items()))

    assert [task.key for task in await claimed(shelf, most=3)] == ["a", "b", "c"]
    assert [task.key for task in await claimed(shelf, most=3)] == ["d"]


async def test_a_lane_is_claimed_by_itself(shelf: Shelf) -> None:
    await stored(shelf, *(a_task(lane.name, lane=lane) for lane in Lane))
    for lane in Lane:
        assert [task.key for task in await claimed(shelf, lane=lane)] == [lane.name]


async def test_an_unfinished_task_keeps_its_key(shelf: Shelf) -> None:
    """However it is unfinished: waiting, in hand, or set aside."""
    await stored(shelf, a_task(due=5), a_task(due=9))
    await stored(shelf, a_task())
    assert await claimed(shelf) == []

    await shelf.db.write(lambda tx: tx.wake(a_task()))
    (task,) = await claimed(shelf)
    await stored(shelf, a_task())
    assert await claimed(shelf) == []

    await shelf.db.write(lambda tx: tx.park(task, "broken"))
    await stored(shelf, a_task())
    assert await claimed(shelf) == []
    assert (await row(shelf)).last_error == "broken"


async def test_a_finished_task_frees_its_key(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    (task,) = await claimed(shelf)
    await shelf.db.write(lambda tx: tx.finish(task))
    assert task.settled
    await stored(shelf, a_task())

    (again,) = await claimed(shelf)
    assert again.id != task.id


async def test_a_write_may_finish_a_task_and_store_its_successor(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    (task,) = await claimed(shelf)

    def succeed(tx: Tx) -> None:
        tx.spawn(a_task())
        tx.finish(task)

    await shelf.db.write(succeed)
    assert [each.key for each in await claimed(shelf)] == ["key"]


async def test_waking_brings_forward_and_never_puts_off(shelf: Shelf) -> None:
    await stored(shelf, a_task(due=50))
    due = (await row(shelf)).due_at
    await shelf.db.write(lambda tx: tx.wake(a_task(due=60)))
    assert (await row(shelf)).due_at == due

    sooner = a_task(due=20)
    await shelf.db.write(lambda tx: tx.wake(sooner))
    assert (await row(shelf)).due_at == sooner.due_at

    shelf.topics.clear()
    await shelf.db.write(lambda tx: tx.wake(a_task("new")))
    assert [task.key for task in await claimed(shelf)] == ["new"]
    assert shelf.topics == ["tasks"]


async def test_dropping_ends_what_waits_and_leaves_what_runs(shelf: Shelf) -> None:
    await stored(shelf, a_task("waits"), a_task("runs", due=-5))
    (task,) = await claimed(shelf, most=1)
    for key in ("waits", "runs", "unknown"):
        await shelf.db.write(partial(Tx.drop, key=key))

    assert task.key == "runs"
    assert (await row(shelf, "waits")).state == "done"
    await shelf.db.write(lambda tx: tx.finish(task))


async def test_who_lost_the_lease_can_write_nothing(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    (slow,) = await claimed(shelf, "slow")
    await beat(shelf, "other", later=LEASE + 1)
    (quick,) = await claimed(shelf, "quick")
    assert (quick.id, quick.fence, quick.deaths) == (slow.id, slow.fence + 1, 1)

    endings = (
        lambda tx: tx.finish(slow),
        lambda tx: tx.again(slow, in_seconds(0)),
        lambda tx: tx.park(slow, "why"),
    )
    for n, ending in enumerate(endings):

        def late(tx: Tx, n: int = n, ending: Any = ending) -> None:
            note(tx, f"{n}")
            ending(tx)

        with pytest.raises(LeaseLost):
            await shelf.db.write(late)
    assert await shelf.notes() == []
    assert not slow.settled

    await shelf.db.write(lambda tx: tx.finish(quick))
    with pytest.raises(LeaseLost):
        await shelf.db.write(lambda tx: tx.finish(quick))


async def test_a_heartbeat_keeps_what_is_in_hand(shelf: Shelf) -> None:
    await stored(shelf, a_task("a"), a_task("b"))
    held = [task.id for task in await claimed(shelf, "me")]
    await beat(shelf, "me", held, later=LEASE - 1)
    await beat(shelf, "other", later=LEASE + 1)

    assert await claimed(shelf, "other") == []


async def test_what_is_leased_to_us_and_not_in_our_hand_comes_back_without_a_death(shelf: Shelf) -> None:
    """The answer to a claim was lost, or putting it back failed: no lease may be for ever."""
    await stored(shelf, a_task("stray"), a_task("held"))
    by_key = {task.key: task for task in await claimed(shelf, "me")}
    await beat(shelf, "me", [by_key["held"].id], later=1)
    assert await claimed(shelf, "me") == [], "not before its lease is over: the answer may still be on its way"
    await beat(shelf, "me", [by_key["held"].id], later=LEASE + 1)

    (stray,) = await claimed(shelf, "other")
    assert (stray.key, stray.deaths, stray.fence) == ("stray", 0, 2)


async def test_at_the_second_death_a_task_becomes_a_suspect(shelf: Shelf) -> None:
    await stored(shelf, a_task(lane=Lane.HIGH))
    for deaths, lane in ((0, Lane.HIGH), (1, Lane.HIGH), (2, Lane.SUSPECT), (3, Lane.SUSPECT)):
        (task,) = await claimed(shelf, f"worker {deaths}", lane)
        assert task.deaths == deaths
        await beat(shelf, "undertaker", later=LEASE + 1)


async def test_who_comes_through_is_no_suspect_any_more(shelf: Shelf) -> None:
    """What runs again and again, as schedules do, must not gather deaths over the years."""
    await stored(shelf, a_task())
    for _ in range(2):
        await claimed(shelf, "unlucky")
        await beat(shelf, "undertaker", later=LEASE + 1)
    (task,) = await claimed(shelf, lane=Lane.SUSPECT)
    await shelf.db.write(lambda tx: tx.again(task, in_seconds(0), tries=1, error="a fault"))
    (task,) = await claimed(shelf, lane=Lane.SUSPECT)
    assert (task.deaths, task.tries) == (2, 1)

    await shelf.db.write(lambda tx: tx.again(task, in_seconds(0)))
    (task,) = await claimed(shelf, lane=Lane.LINE)
    assert (task.deaths, task.tries) == (0, 0)


async def test_an_heir_takes_over_what_the_dead_had_in_hand(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    await claimed(shelf, "predecessor")
    await shelf.db.write(lambda tx: tasks.inherit(tx, "heir"))

    (task,) = await claimed(shelf, "heir")
    assert task.deaths == 1


async def test_what_is_given_back_died_of_nothing(shelf: Shelf) -> None:
    await stored(shelf, a_task())
    await claimed(shelf, "me")
    await shelf.db.write(lambda tx: tasks.release(tx, "other"))
    assert await claimed(shelf) == []
    await shelf.db.write(lambda tx: tasks.release(tx, "me"))

    (task,) = await claimed(shelf)
    assert (task.deaths, task.fence) == (0, 2)


async def test_the_next_to_fall_due_leaves_out_what_could_have_been_taken(shelf: Shelf) -> None:
    lanes = (Lane.LINE, Lane.NORMAL)
    now = in_seconds(0)
    assert await shelf.db.write(lambda tx: tasks.next_due(tx, lanes, now)) is None

    soon, later = a_task("soon", due=5, lane=Lane.NORMAL), a_task("later", due=9)
    await stored(shelf, a_task("blocked", due=-5), soon, later, a_task("other lane", due=1, lane=Lane.LOW))
    assert await shelf.db.write(lambda tx: tasks.next_due(tx, lanes, now)) == soon.due_at


async def test_workers_that_sweep_at_the_same_time_count_a_death_once(tmp_path: Any) -> None:
    with place_for("postgresql", tmp_path) as url:
        async with opened(url) as shelf:
            await stored(shelf, *(a_task(f"{n}") for n in range(50)))
            await claimed(shelf, "dead", most=50)
            await asyncio.gather(*(beat(shelf, f"worker {n}", later=LEASE + 1) for n in range(8)))
            assert {(each.state, each.deaths) for each in await shelf.rows(select(T))} == {("ready", 1)}


async def test_reactions_are_stored_once_for_each_event_in_order(tmp_path: Any) -> None:
    reactions = {("garden", "notice"): "garden.notice"}
    for kind in DATABASES:
        folder = tmp_path / kind
        folder.mkdir()
        with place_for(kind, folder) as url:
            async with opened(url, reactions=reactions) as shelf:

                def several(tx: Tx, first: int) -> None:
                    for n in range(3):
                        record(tx, first + n, workflow="garden")
                    record(tx, 99, workflow="kitchen")
                    record(tx, 99)

                await asyncio.gather(*(shelf.db.write(partial(several, first=3 * n)) for n in range(10)))
                found = [
                    each.payload for each in await shelf.rows(select(T.c.payload).where(T.c.kind == "garden.notice"))
                ]
                found.sort(key=lambda payload: payload["seq"])

                assert len(found) == 30
                assert len({payload["seq"] for payload in found}) == 30
                for n in range(0, 30, 3):
                    first, second, third = (payload["event"]["n"] for payload in found[n : n + 3])
                    assert (second, third) == (first + 1, first + 2)


async def test_when_the_clock_is_set_back_only_what_has_not_begun_keeps_its_time(shelf: Shelf) -> None:
    await stored(shelf, a_task("waits", lane=Lane.NORMAL), a_task("on the line", due=30))
    (waits,) = await claimed(shelf, lane=Lane.NORMAL)
    late = in_seconds(3_630)
    await shelf.db.write(lambda tx: tx.again(waits, late))
    await stored(shelf, NewTask("kind.do", "begins then", "ws", {}, late, Lane.NORMAL))

    await shelf.db.write(partial(tasks.bring_back, by=timedelta(hours=1)))

    due = {key: (await row(shelf, key)).due_at for key in ("waits", "on the line", "begins then")}
    assert due["waits"] == late - timedelta(hours=1)
    assert due["on the line"] < in_seconds(1)
    assert due["begins then"] == late
