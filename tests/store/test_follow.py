"""Following the log: no event lost, none twice, all in order, whoever comes, goes, writes and trims meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.clock import SystemClock
from app.core.errors import InvalidRequest
from app.core.events import Recorded
from app.core.feed import Behind, Feed
from app.ports import EVERYTHING
from app.rules import Rules
from app.store import follow, tail
from app.store.columns import table
from app.store.follow import Hub
from app.store.history import Filter, read_page
from app.store.log import CounterRow
from tests.store.journal import DATABASES, Completed, Journal, Queued, Started, journal_on
from tests.subscriber import EventSource, Heard
from tests.waiting import until

SMALL = replace(Rules(), stream_page=8, ring=16, poll_every=0.05)
WATCHED = ((None, None), ("job_1", None), ("job_2", None), (None, "run_1"), (None, "run_2"))
FINAL = frozenset({"job.completed", "job.failed"})


@pytest.fixture(params=DATABASES)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    async with journal_on(request.param, tmp_path) as journal:
        yield journal


@pytest.fixture
async def hub(journal: Journal) -> AsyncIterator[Hub]:
    hub = Hub(journal.db.read, SystemClock(), SMALL)
    journal.nudges.hear.append(hub.hear)
    yield hub
    await hub.close()


class Reading:
    """A reader of one feed who takes what there is, waits when there is nothing, and parses as a browser would."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.source = EventSource()
        self.over = False
        self._ready = asyncio.Event()
        feed.ready(self._ready.set)

    async def take(self) -> None:
        body = await self.feed.take()
        self.over = body is None
        self.source.feed(body or b"")
        if body == b"":
            await self._ready.wait()
            self._ready.clear()

    async def until_seq(self, seq: int) -> list[int]:
        async with asyncio.timeout(10):
            while int(self.source.last_id or 0) < seq:
                await self.take()
        return self.numbers

    async def until_over(self) -> list[Heard]:
        async with asyncio.timeout(10):
            while not self.over:
                await self.take()
        return self.source.events

    @property
    def numbers(self) -> list[int]:
        return [each.json["seq"] for each in self.source.events]


async def test_from_now_on_means_nothing_older(journal: Journal, hub: Hub) -> None:
    await journal.write(30)
    reading = Reading(await hub.follow("ws"))
    await journal.write(3)

    assert await reading.until_seq(33) == [31, 32, 33]


async def test_who_comes_while_the_reader_is_still_warming_up_gets_nothing_older_either(
    journal: Journal, hub: Hub
) -> None:
    await journal.write(30)
    await hub.follow("ws", after=0)
    reading = Reading(await hub.follow("ws"))
    await journal.write(3)

    assert await reading.until_seq(33) == [31, 32, 33]


async def test_who_is_cut_off_before_the_first_event_knows_where_to_come_back_to(journal: Journal, hub: Hub) -> None:
    await journal.write(30)
    reading = Reading(await hub.follow("ws"))
    reading.source.feed(await reading.feed.take() or b"")

    assert reading.source.last_id == "30"
    assert reading.source.events == []


async def test_what_was_missed_comes_first_and_then_what_is_new(journal: Journal, hub: Hub) -> None:
    await journal.write(100)
    places: list[int | str] = [*range(101), "0", "58", "100"]
    readings = [Reading(await hub.follow("ws", after=after)) for after in places]
    await journal.write(2)

    for after, reading in zip(places, readings, strict=True):
        assert await reading.until_seq(102) == list(range(int(after) + 1, 103))


async def test_a_frame_says_what_happened(journal: Journal, hub: Hub) -> None:
    reading = Reading(await hub.follow("ws"))
    await journal.write(1, job="job_1", run="run_1", event=Queued(n=7))
    await reading.until_seq(1)
    (heard,) = reading.source.events
    said = heard.json

    assert (heard.id, heard.type) == ("1", "job.queued")
    assert "\n" not in heard.data
    assert list(said) == ["seq", "type", "time", "job", "run", "data"]
    assert said.pop("time").endswith("Z")
    assert said == {"seq": 1, "type": "job.queued", "job": "job_1", "run": "run_1", "data": {"n": 7}}


async def test_with_every_nudge_lost_everything_still_arrives(journal: Journal, hub: Hub) -> None:
    journal.nudges.deaf = True
    reading = Reading(await hub.follow("ws"))
    await journal.write(50)

    assert await reading.until_seq(50) == list(range(1, 51))


async def test_a_nudge_is_enough_without_the_poll(journal: Journal) -> None:
    hub = Hub(journal.db.read, SystemClock(), replace(SMALL, poll_every=1000))
    journal.nudges.hear.append(hub.hear)
    reading = Reading(await hub.follow("ws"))
    await journal.write(20)

    assert await reading.until_seq(20) == list(range(1, 21))
    await hub.close()


async def test_workspaces_do_not_hear_each_other(journal: Journal, hub: Hub) -> None:
    mine, theirs = Reading(await hub.follow("ws")), Reading(await hub.follow("other"))
    await journal.write(2, workspace="other")
    await journal.write(1)

    assert await theirs.until_seq(2) == [1, 2]
    assert await mine.until_seq(1) == [1]


async def test_a_place_that_cannot_be_is_refused_before_the_stream_begins(journal: Journal, hub: Hub) -> None:
    await journal.write(5)
    table_of_places: list[tuple[int | str, str]] = [
        *((number, "/query/after") for number in (-1, 6, 10**30)),
        *((text, "/header/last-event-id") for text in ("-1", "x", "1_0", " 1", "1.0", "１", "", "job_01", "0x1")),
    ]
    for after, pointer in table_of_places:
        with pytest.raises(InvalidRequest) as refused:
            await hub.follow("ws", after=after)
        assert [error.pointer for error in refused.value.errors] == [pointer], after
    assert not hub._tails


async def test_an_id_from_another_life_of_the_database_is_answered_with_a_reset(journal: Journal, hub: Hub) -> None:
    await journal.write(5)
    snapshot = "http://here/api/v1/jobs"
    readings = [Reading(await hub.follow("ws", after=a, snapshot=snapshot)) for a in ("6", "9" * 19, "9" * 5000)]
    await journal.write(1)

    for reading in readings:
        await reading.until_seq(6)
        assert [each.type for each in reading.source.events] == ["stream.reset", "job.queued"]
        assert reading.source.events[0].json == {"seq": 5, "snapshot": snapshot}
        assert reading.source.events[0].id == "5"


async def test_trimmed_history_is_said_and_then_it_goes_on(journal: Journal, hub: Hub) -> None:
    await journal.write(100)
    await journal.trim(40)
    reading = Reading(await hub.follow("ws", after=7, snapshot="/s"))

    assert await reading.until_seq(100) == [40, *range(41, 101)]
    assert reading.source.events[0].type == "stream.reset"
    assert reading.source.events[0].json == {"seq": 40, "snapshot": "/s"}


async def test_who_has_seen_all_that_was_trimmed_hears_nothing_of_it(journal: Journal, hub: Hub) -> None:
    await journal.write(100)
    await journal.trim(40)
    for after in (40, 41):
        assert await Reading(await hub.follow("ws", after=after)).until_seq(100) == list(range(after + 1, 101))


@pytest.mark.parametrize("trimmed", [8, 9, 50])
async def test_history_trimmed_between_two_pages_is_said_too(journal: Journal, hub: Hub, trimmed: int) -> None:
    await journal.write(100)
    reading = Reading(await hub.follow("ws", after=0, snapshot="/s"))
    await reading.until_seq(8)
    await journal.trim(trimmed)
    said = [] if trimmed == 8 else [trimmed]

    assert await reading.until_seq(100) == [*range(1, 9), *said, *range(trimmed + 1, 101)]
    assert [each.json["seq"] for each in reading.source.events if each.type == "stream.reset"] == said


async def test_when_nudges_may_have_been_lost_every_log_is_looked_at(journal: Journal, hub: Hub) -> None:
    hub._rules = replace(SMALL, poll_every=1000)
    journal.nudges.deaf = True
    readings = [Reading(await hub.follow(workspace)) for workspace in ("ws", "other")]
    for workspace in ("ws", "other"):
        await journal.write(3, workspace=workspace)
    hub.hear(EVERYTHING)

    for reading in readings:
        assert await reading.until_seq(3) == [1, 2, 3]


async def test_history_trimmed_before_the_reader_itself_has_read_it_is_said_too(journal: Journal, hub: Hub) -> None:
    hub._rules = replace(SMALL, poll_every=1000)
    journal.nudges.deaf = True
    everything = Reading(await hub.follow("ws", snapshot="/s"))
    of_a_job = Reading(await hub.follow("ws", job="job_1", snapshot="/s"))
    await journal.write(3, job="job_1")
    hub.hear("w:ws")
    for reading in (everything, of_a_job):
        assert await reading.until_seq(3) == [1, 2, 3]
    await journal.write(30)
    await journal.trim(20)
    hub.hear("w:ws")

    assert await everything.until_seq(33) == [1, 2, 3, 20, *range(21, 34)]
    assert await of_a_job.until_seq(20) == [1, 2, 3, 20]


async def test_a_filter_lets_through_what_it_names(journal: Journal, hub: Hub) -> None:
    await journal.write(20, job="job_2", run="run_1")
    started = frozenset({"job.started"})
    of_job = Reading(await hub.follow("ws", after=0, job="job_1"))
    of_run = Reading(await hub.follow("ws", after=0, run="run_1"))
    of_type = Reading(await hub.follow("ws", after=0, types=started))
    of_all = Reading(await hub.follow("ws", after=0, run="run_1", job="job_1", types=started))
    for _ in range(5):
        await journal.write(1, job="job_1", event=Started())
        await journal.write(10, job="job_2")
        await journal.write(1, job="job_1", run="run_1")
        await journal.write(1, job="job_1", run="run_1", event=Started())

    rounds = range(21, 21 + 5 * 13, 13)
    assert await of_type.until_seq(85) == [s for first in rounds for s in (first, first + 12)]
    assert await of_job.until_seq(85) == [s for first in rounds for s in (first, first + 11, first + 12)]
    assert await of_run.until_seq(85) == [*range(1, 21), *(s for first in rounds for s in (first + 11, first + 12))]
    assert await of_all.until_seq(85) == [first + 12 for first in rounds]


async def test_an_event_of_one_job_does_not_wake_those_who_watch_another(journal: Journal, hub: Hub) -> None:
    readings = {job or run: Reading(await hub.follow("ws", job=job, run=run)) for job, run in WATCHED}
    await journal.write(20, job="job_1", run="run_1")
    await journal.write(20, job="job_2", run="run_2")
    for name, reading in readings.items():
        await reading.until_seq(40 if name in {None, "job_2", "run_2"} else 20)
    woken: list[str | None] = []
    for name, reading in readings.items():
        reading.feed.ready(partial(woken.append, name))
    await journal.write(1, job="job_2", run="run_2")
    await until(lambda: len(woken) == 3)

    assert set(woken) == {None, "job_2", "run_2"}
    for name in (None, "job_2", "run_2"):
        assert (await readings[name].until_seq(41))[-1] == 41


async def test_a_stream_on_a_job_is_over_after_its_final_event(journal: Journal, hub: Hub) -> None:
    await journal.write(2, job="job_1")
    reading = Reading(await hub.follow("ws", after=0, job="job_1", final=FINAL))
    await journal.write(1, job="job_2", event=Completed())
    await journal.write(1, job="job_1", event=Completed())
    await journal.write(1, job="job_1")

    await reading.until_over()
    assert reading.numbers == [1, 2, 4]


async def test_a_final_event_that_is_not_wanted_still_ends_the_stream(journal: Journal, hub: Hub) -> None:
    queued = frozenset({"job.queued"})
    await journal.write(20, job="job_1")
    live = Reading(await hub.follow("ws", after=0, job="job_1", types=queued, final=FINAL))
    await live.until_seq(20)
    await journal.write(1, job="job_1", event=Completed())
    await journal.write(30)
    late = Reading(await hub.follow("ws", after=0, job="job_1", types=queued, final=FINAL))

    for reading in (live, late):
        await reading.until_over()
        assert reading.numbers == list(range(1, 21))


async def test_a_stream_on_a_finished_job_says_what_is_left_and_ends(journal: Journal, hub: Hub) -> None:
    await journal.write(2, job="job_1")
    await journal.write(1, job="job_1", event=Completed())
    places: list[int | str | None] = [None, 0, 2, 3, "2", "3"]
    for trailing in (0, 1, 50):
        await journal.write(trailing)
        for after in places:
            feed = await hub.follow("ws", after=after, job="job_1", final=FINAL)
            reading = Reading(feed)
            await reading.until_over()
            assert reading.numbers == ([] if after is None else list(range(int(after) + 1, 4)))
            assert feed.spent == (after == "3")


async def test_a_job_whose_final_event_was_trimmed_is_known_by_the_callers_word(journal: Journal, hub: Hub) -> None:
    await journal.write(1, job="job_1", event=Completed())
    await journal.write(20)
    await journal.trim(10)
    feed = await hub.follow("ws", after="0", job="job_1", final=FINAL, ended=True)

    lost = await hub.follow("ws", after="99", job="job_1", final=FINAL, ended=True)

    for each in (feed, lost):
        assert [heard.type for heard in await Reading(each).until_over()] == ["stream.reset"]
        assert not each.spent


async def test_nothing_is_left_behind_by_those_who_leave(journal: Journal, hub: Hub) -> None:
    before = asyncio.all_tasks()
    feeds = [await hub.follow("ws", after=0, job=job) for job in (None, "job_1", "job_1")]
    other = await hub.follow("other")
    last = Reading(feeds.pop())
    for feed in feeds:
        feed.close()
    await journal.write(5, job="job_1")
    assert await last.until_seq(5) == [1, 2, 3, 4, 5]
    last.feed.close()

    assert list(hub._tails) == ["other"]
    other.close()
    other.close()
    await until(lambda: asyncio.all_tasks() <= before)
    hub.hear("w:ws")
    assert not hub._tails


async def test_a_reader_that_fails_tries_again(
    journal: Journal, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(await hub.follow("ws"))
    working, failures = hub._read, iter(range(3))

    def read() -> AbstractAsyncContextManager[AsyncSession]:
        if next(failures, None) is not None:
            raise ConnectionError("the database is away")
        return working()

    monkeypatch.setattr(hub, "_read", read)
    await journal.write(5)

    assert await reading.until_seq(5) == [1, 2, 3, 4, 5]
    assert caplog.text.count("ConnectionError: the database is away") == 3


async def test_a_herd_that_comes_back_at_once_takes_few_reads_and_few_at_a_time(journal: Journal) -> None:
    now = most = total = 0

    @asynccontextmanager
    async def read() -> AsyncIterator[AsyncSession]:
        nonlocal now, most, total
        now, total = now + 1, total + 1
        most = max(most, now)
        async with journal.db.read() as session:
            yield session
        now -= 1

    await journal.write(1000)
    hub = Hub(read, SystemClock(), replace(Rules(), poll_every=1000))
    feeds = await asyncio.gather(*(hub.follow("ws", after=str(900 + i % 100)) for i in range(1000)))
    for i, reading in enumerate(map(Reading, feeds)):
        assert await reading.until_seq(1000) == list(range(901 + i % 100, 1001))

    assert most <= follow.CATCH_UPS_AT_ONCE + follow.KEEP_UPS_AT_ONCE
    assert total <= 1000 + 2
    await hub.close()


async def test_a_page_is_the_same_events_as_values(journal: Journal) -> None:
    await journal.write(5, job="job_1", event=Queued(n=3))
    await journal.write(5, run="run_1", event=Started())
    async with journal.db.read() as session:
        first = await read_page(session, "ws", 0, 3)
        of_run = await read_page(session, "ws", 4, 10, Filter(run="run_1"))
        of_job = await read_page(session, "ws", 4, 10, Filter(job="job_1", types=frozenset({"job.queued"})))

    assert [each.seq for each in first] == [1, 2, 3]
    assert first[0].data == {"n": 3}
    assert first[0].time.tzinfo is not None
    assert [each.seq for each in of_run] == [6, 7, 8, 9, 10]
    assert [each.seq for each in of_job] == [5]


async def test_who_takes_while_the_others_are_still_being_woken_gets_nothing_twice(
    journal: Journal, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "WOKEN_AT_ONCE", 1)
    monkeypatch.setattr(tail, "FRAMES_AT_ONCE", 2)
    readings = [Reading(await hub.follow("ws", after=0, job="job_1" if i % 2 else None)) for i in range(10)]
    keen = [asyncio.get_running_loop().create_task(reading.until_seq(60)) for reading in readings]
    for _ in range(20):
        await journal.write(3, job="job_1")

    for numbers in await asyncio.gather(*keen):
        assert numbers == list(range(1, 61))


async def test_memory_alone_is_asked_first(journal: Journal, hub: Hub) -> None:
    await journal.write(100)
    feed = await hub.follow("ws", after=0)
    feed.take_now()
    await until(lambda: hub._tails["ws"].head == 100)

    with pytest.raises(Behind):
        feed.take_now()
    assert b"id: 1\n" in (await feed.take() or b"")


@pytest.mark.parametrize("seed", range(6))
async def test_any_interleaving_of_joining_writing_trimming_and_catching_up_is_whole(
    journal: Journal, hub: Hub, seed: int
) -> None:
    chance = random.Random(seed)
    newest = trimmed = 0
    readings: list[tuple[Reading, int, str | None]] = []
    history: dict[int, str | None] = {}
    journal.nudges.deaf = seed % 2 == 0
    for _ in range(120):
        step = chance.random()
        if step < 0.4:
            n, job = chance.choice([1, 1, 2, 9, 40]), chance.choice(["job_1", "job_2"])
            await journal.write(n, job=job)
            history |= dict.fromkeys(range(newest + 1, newest + n + 1), job)
            newest += n
        elif step < 0.45:
            trimmed = chance.randint(trimmed, max(trimmed, newest - 30))
            await journal.trim(trimmed)
        elif step < 0.6 and len(readings) < 25:
            after, job_or_none = chance.randint(0, newest), chance.choice([None, "job_1"])
            readings.append((Reading(await hub.follow("ws", after=after, job=job_or_none)), after, job_or_none))
        elif readings:
            reading = chance.choice(readings)[0]
            reading.source.feed(await reading.feed.take() or b"")
    await journal.write(1, job="job_1")
    history[newest + 1] = "job_1"

    for reading, after, job_or_none in readings:
        await reading.until_seq(newest + 1)
        assert_whole(reading.source.events, after, job_or_none, history)


def assert_whole(events: list[Heard], after: int, job: str | None, history: Mapping[int, str | None]) -> None:
    """Each event that was wanted was heard once and in order, or lies before a reset that owned up to it."""
    at = after
    for heard in events:
        seq = heard.json["seq"]
        assert seq > at
        if heard.type != "stream.reset":
            assert [s for s in range(at + 1, seq + 1) if job is None or history[s] == job] == [seq]
        at = seq
    assert at == max(history)


async def test_a_snapshot_and_the_tail_from_its_number_make_the_whole(journal: Journal, hub: Hub) -> None:
    writing = asyncio.get_running_loop().create_task(_write_one_by_one(journal, 120))
    for _ in range(10):
        number, seen = await _snapshot(journal)
        reading = Reading(await hub.follow("ws", after=number))
        await journal.write(1)
        numbers = [each.seq for each in seen] + await reading.until_seq(number + 1)
        reading.feed.close()

        assert len(seen) == number
        assert numbers == list(range(1, len(numbers) + 1))
    await writing


async def _write_one_by_one(journal: Journal, n: int) -> None:
    for _ in range(n):
        await journal.write(1)


async def _snapshot(journal: Journal) -> tuple[int, list[Recorded]]:
    """The state and the number it is current to, read in one transaction while others write."""
    counters = table(CounterRow).c
    async with journal.db.read() as session:
        found = await (await session.connection()).execute(select(counters.seq).where(counters.workspace == "ws"))
        number = found.scalar() or 0
        return number, await read_page(session, "ws", 0, 1000)
