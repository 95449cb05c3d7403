"""From the log to a socket and back after every kind of accident, on both databases: each event once, in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from app.rules import Rules
from app.store import follow
from tests.contracts.following import (
    Life,
    cut_again_and_again,
    cut_at_every_byte,
    numbered_by_a_sequence,
    numbers,
)
from tests.store.journal import DATABASES, Completed, Journal, journal_on
from tests.subscriber import EventSource, subscribed
from tests.waiting import until


@pytest.fixture(params=DATABASES)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    async with journal_on(request.param, tmp_path) as journal:
        yield journal


async def test_cut_at_any_byte_and_resumed_by_header_or_by_query_nothing_is_missing_twice_or_out_of_order(
    journal: Journal,
) -> None:
    followed = await cut_at_every_byte(journal)

    assert not followed.wrong
    assert followed.counts["events"] == 200


@pytest.mark.parametrize("seed", range(3))
async def test_a_subscriber_cut_off_again_and_again_while_events_come_hears_each_once(
    journal: Journal, seed: int
) -> None:
    followed = await cut_again_and_again(journal, 100, random.Random(seed))

    assert not followed.wrong
    assert followed.counts["events"] > 100


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
    assert await numbered_by_a_sequence(tmp_path) == [2, 3]
