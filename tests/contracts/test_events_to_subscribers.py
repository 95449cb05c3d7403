"""From the log to a socket and back after every kind of accident, on both databases: each event once, in order."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, insert, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Receive, Scope, Send

from app.adapters.clock import SystemClock
from app.core.errors import Problem
from app.rules import Rules
from app.store import follow
from app.store.columns import metadata, table
from app.store.follow import Hub
from app.store.log import CounterRow, EventRow
from app.web.streams import Streams
from tests.serving import serving
from tests.store.journal import DATABASES, Completed, Journal, journal_at, journal_on, place_for
from tests.subscriber import EventSource, subscribed
from tests.waiting import until

RULES = replace(Rules(), poll_every=0.1, ring=64, stream_page=50)
FINAL = frozenset({"job.completed"})
MOST = 3000
"""Bytes until a subscriber is cut off again. An event has over 120, so 300 of them need at least 12 lives."""


@pytest.fixture(params=DATABASES)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    async with journal_on(request.param, tmp_path) as journal:
        yield journal


@dataclass
class Life:
    """One life of the service: a hub and its streams behind `/{workspace}?after=&job=`."""

    journal: Journal
    rules: Rules = RULES
    counted: Counter[str] = field(default_factory=Counter)
    reading: int = 0
    most_reading: int = 0

    def __post_init__(self) -> None:
        self.hub = Hub(self.read, SystemClock(), self.rules)
        self.streams = Streams(self.rules, random.Random(3), lambda name: self.counted.update([name]))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            async with self.journal.db.read() as session:
                yield session
        finally:
            self.reading -= 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        came_back = dict(scope["headers"]).get(b"last-event-id", b"").decode()
        after = came_back or (int(query["after"]) if "after" in query else None)
        try:
            feed = await self.hub.follow(
                scope["path"][1:], after=after, job=query.get("job"), final=FINAL, snapshot="/s"
            )
        except Problem as problem:
            body = json.dumps(problem.document()).encode()
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": problem.status, "headers": [length]})
            await send({"type": "http.response.body", "body": body})
        else:
            await self.streams.stream(feed).serve(scope, receive, send)

    @asynccontextmanager
    async def lived(self) -> AsyncIterator[int]:
        self.journal.nudges.hear.append(self.hub.hear)
        async with serving(self, self.streams.drain) as port:
            yield port
        self.journal.nudges.hear.remove(self.hub.hear)
        await self.hub.close()


def numbers(source: EventSource) -> list[int]:
    return [each.json["seq"] for each in source.events]


async def test_cut_at_any_byte_and_resumed_by_header_or_by_query_nothing_is_missing_twice_or_out_of_order(
    journal: Journal,
) -> None:
    """What a cut leaves behind is the last id. So: the last id at each byte of a stream, and the answer to each id."""
    await journal.write(200)
    async with Life(journal).lived() as port:
        async with subscribed(port, "/ws?after=0") as whole:
            await whole.until_events(200)
            body = whole.body
        resumed: dict[str, list[list[int]]] = {}
        for last_id in map(str, range(201)):
            resumed[last_id] = []
            for path, header in (("/ws", last_id), (f"/ws?after={last_id}", ""), ("/ws?after=0", last_id)):
                async with subscribed(port, path, last_id=header) as here:
                    await here.until_events(200 - int(last_id))
                    await here.until_text(b"retry: ")
                    resumed[last_id].append(numbers(here.source))

    seen, heard, last_id = EventSource(), -1, ""
    for offset in range(len(body)):
        seen.feed(body[offset : offset + 1])
        if (len(seen.events), seen.last_id) == (heard, last_id):
            continue  # a cut here leaves nothing else behind than one a byte before
        heard, last_id = len(seen.events), seen.last_id
        for rest in resumed[last_id or "0"]:
            assert numbers(seen) + rest == list(range(1, 201)), f"cut after byte {offset}"
    assert heard == 200


@pytest.mark.parametrize("seed", range(3))
async def test_a_subscriber_cut_off_again_and_again_while_events_come_hears_each_once(
    journal: Journal, seed: int
) -> None:
    chance = random.Random(seed)
    source = EventSource("0")
    life = Life(journal)
    async with life.lived() as port:
        writing = asyncio.get_running_loop().create_task(_write(journal, 300, random.Random(seed)))
        cuts = 0
        while len(source.events) < 300:
            by_header = chance.random() < 0.5
            path = "/ws" if by_header else f"/ws?after={source.last_id}"
            async with subscribed(port, path, last_id=source.last_id if by_header else "") as here:
                upto = chance.randint(1, MOST)
                while len(here.body) < upto and len(source.events) + len(here.source.events) < 300:
                    await asyncio.wait_for(here.more(), 10)
                source = EventSource(source.last_id, events=source.events)
                source.feed(here.body[:upto])
                cuts += 1
        await writing
        await until(lambda: not len(life.streams))
        assert not life.hub._tails

    assert numbers(source) == list(range(1, 301))
    assert cuts > 10


async def _write(journal: Journal, n: int, chance: random.Random) -> None:
    while n:
        some = min(n, chance.randint(1, 8))
        await journal.write(some)
        n -= some


async def test_a_restart_in_the_middle_is_only_a_cut(journal: Journal) -> None:
    sources = [EventSource("0") for _ in range(20)]
    written = 0
    for _ in range(4):
        life = Life(journal)
        async with AsyncExitStack() as readers:
            async with life.lived() as port:
                here = [await readers.enter_async_context(subscribed(port, "/ws", last_id=s.last_id)) for s in sources]
                await journal.write(70)
                written += 70
                for reader, source in zip(here, sources, strict=True):
                    await reader.until_events(chance_of(written - len(source.events)))
            for reader, source in zip(here, sources, strict=True):
                await reader.until_over()
                source.feed(reader.body)
                assert reader.source.retry
        assert not len(life.streams)
        sources = [EventSource(source.last_id, events=source.events) for source in sources]
    async with Life(journal).lived() as port:
        for source in sources:
            async with subscribed(port, "/ws", last_id=source.last_id) as last:
                source.events += await last.until_events(written - len(source.events))
    for source in sources:
        assert numbers(source) == list(range(1, written + 1))


def chance_of(most: int) -> int:
    return random.Random(most).randint(0, most)


async def test_trimmed_history_is_said_over_the_wire(journal: Journal) -> None:
    await journal.write(100)
    await journal.trim(60)
    async with Life(journal).lived() as port:
        for path, last_id in (("/ws", "3"), ("/ws?after=3", ""), ("/ws?after=90", "3")):
            async with subscribed(port, path, last_id=last_id) as here:
                reset, *events = await here.until_events(41)

                assert reset.type == "stream.reset"
                assert reset.json == {"seq": 60, "snapshot": "/s"}
                assert [each.json["seq"] for each in events] == list(range(61, 101))


async def test_forged_ids_are_refused_or_reset_and_never_a_crash(journal: Journal) -> None:
    await journal.write(10)
    await journal.write(500, workspace="other")
    async with Life(journal).lived() as port:
        for last_id in ("-1", "1e3", "0x10", "1 OR 1=1", "%00", "x" * 2000, "\u0661"):
            async with subscribed(port, "/ws", headers={"Last-Event-ID": last_id.encode().decode("latin-1")}) as here:
                assert here.status == 422
        for query in ("-1", "11", "500", "9" * 40):
            async with subscribed(port, f"/ws?after={query}") as here:
                assert here.status == 422
        for last_id in ("11", "500", "9" * 40):  # from another life, or of another stream
            async with subscribed(port, "/ws", last_id=last_id) as here:
                (reset,) = await here.until_events(1)
                assert (reset.type, reset.id) == ("stream.reset", "10")
        async with subscribed(port, "/nowhere") as here:
            assert here.status == 200


async def test_the_stream_of_a_job_ends_with_it_and_a_browser_that_comes_back_is_told_to_stay_away(
    journal: Journal,
) -> None:
    await journal.write(3, job="job_1")
    async with Life(journal).lived() as port:
        async with subscribed(port, "/ws?after=0&job=job_1") as here:
            await here.until_events(3)
            await journal.write(1, job="job_2")
            await journal.write(1, job="job_1", event=Completed())
            assert [each.json["seq"] for each in await here.until_over()] == [1, 2, 3, 5]
            assert here.ended_well
        async with subscribed(port, "/ws?after=0&job=job_1", last_id=here.source.last_id) as again:
            assert again.status == 204
        async with subscribed(port, "/ws?job=job_1") as late:
            assert await late.until_over() == []
            assert late.source.last_id == "5"


async def test_a_thousand_readers_come_back_at_once_and_the_database_hardly_notices(journal: Journal) -> None:
    rules = replace(Rules(), poll_every=0.1, streams_per_workspace=2000)
    await journal.write(1000)
    async with AsyncExitStack() as readers:
        first = Life(journal, rules)
        async with first.lived() as port:
            attached = await asyncio.gather(
                *(readers.enter_async_context(subscribed(port, f"/ws?after={950 + i % 50}")) for i in range(1000))
            )
            for i, here in enumerate(attached):
                await here.until_events(50 - i % 50)
        assert not len(first.streams)
        for here in attached:
            await here.until_over()
    await journal.write(20)
    second = Life(journal, rules)
    began = asyncio.get_running_loop().time()
    async with second.lived() as port, AsyncExitStack() as readers:
        back = await asyncio.gather(
            *(readers.enter_async_context(subscribed(port, "/ws", last_id=was.source.last_id)) for was in attached)
        )
        for here in back:
            await here.until_events(20)
            assert numbers(here.source) == list(range(1001, 1021))

    assert asyncio.get_running_loop().time() - began < 30
    assert second.most_reading <= follow.CATCH_UPS_AT_ONCE + follow.KEEP_UPS_AT_ONCE
    await until(lambda: not first.reading and not second.reading)


# --- promises.md, fact 7: where the number comes from ---


async def test_eight_writers_at_once_lose_nobody_an_event(tmp_path: Path) -> None:
    async with journal_on("postgresql", tmp_path) as journal:
        async with Life(journal).lived() as port, subscribed(port, "/ws?after=0") as here:
            await asyncio.gather(*(_write(journal, 60, random.Random(writer)) for writer in range(8)))
            await here.until_events(480)

        assert numbers(here.source) == list(range(1, 481))


async def test_with_numbers_from_a_sequence_the_same_reader_loses_an_event(tmp_path: Path) -> None:
    """The negative control: without it the test above might only show that nothing ever happens at the same time."""
    with place_for("postgresql", tmp_path) as url, closing_engine(url) as engine:
        metadata.create_all(engine, [table(EventRow), table(CounterRow)])
        with engine.begin() as connection:
            connection.execute(text("CREATE SEQUENCE naive"))
            connection.execute(insert(table(CounterRow)).values(workspace="ws", seq=0, trimmed=0))

        async with journal_at(url) as journal:
            life = Life(journal, replace(RULES, poll_every=0.002))
            async with life.lived() as port, subscribed(port, "/ws?after=0") as here:
                with engine.begin() as slow:
                    _record_naively(slow)
                    with engine.begin() as quick:
                        _record_naively(quick)
                    await here.until_text(b"id: 2\n")
                with engine.begin() as later:
                    _record_naively(later)
                await here.until_text(b"id: 3\n")

    assert numbers(here.source) == [2, 3]


@contextmanager
def closing_engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def _record_naively(connection: Connection) -> None:
    row = {"workspace": "ws", "type": "job.queued", "time": datetime.now(UTC), "data": "{}"}
    number = connection.execute(text("SELECT nextval('naive')")).scalar_one()
    connection.execute(insert(table(EventRow)).values(seq=number, **row))
    if number > 1:  # the slow one tells nobody, as it would with a number that is no longer the newest
        connection.execute(text("UPDATE counters SET seq = :number"), {"number": number})
