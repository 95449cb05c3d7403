"""Streams over real sockets and the pinned uvicorn, fed by hand."""

import asyncio
import gc
import random
from collections import Counter, deque
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.adapters.clock import SystemClock
from app.core.errors import Draining, Forbidden, TooManyRequests
from app.core.feed import Behind
from app.rules import Rules
from app.web.rollcall import ASKED_EVERY, Ended
from app.web.server import Protocol
from app.web.streams import Check, EventStream, Streams
from app.web.ticks import Ticks
from tests.serving import serving
from tests.subscriber import subscribed
from tests.waiting import until

CALM = Rules()
QUICK = replace(CALM, stream_send_within=0.3, stream_comment_every=0.2)


class Hand:
    """A feed whose frames are handed in by the test. `history` is what only `take` gives."""

    def __init__(self) -> None:
        self.spent = False
        self.closed = False
        self.frames: deque[bytes | None] = deque()
        self.history: deque[bytes | Exception] = deque()
        self._wake: Callable[[], None] | None = None

    def hand(self, *frames: bytes | None) -> None:
        self.frames += frames
        if self._wake:
            self._wake()

    def ready(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake

    def take_now(self) -> bytes | None:
        if self.history:
            raise Behind
        if not self.frames:
            return b""
        if self.frames[0] is None:
            return None
        return self.frames.popleft()

    async def take(self) -> bytes | None:
        await asyncio.sleep(0)
        if not self.history:
            return self.take_now()
        page = self.history.popleft()
        if isinstance(page, Exception):
            raise page
        return page

    def close(self) -> None:
        self._wake = None
        self.closed = True


class House:
    """An application of nothing but streams, one feed of its own for each who comes."""

    def __init__(
        self, rules: Rules = CALM, check: Check | None = None, ended: Ended | None = None, *, drive: bool = True
    ) -> None:
        self.counted: Counter[str] = Counter()
        self.streams = Streams(
            rules, random.Random(7), lambda name: self.counted.update([name]), drive=drive, ended=ended
        )
        self.feeds: list[Hand] = []
        self.prepare: Callable[[Hand], None] = lambda _feed: None
        self.check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feed = Hand()
        self.feeds.append(feed)
        self.prepare(feed)
        reader = scope["path"].removeprefix("/")
        await self.streams.stream(feed, self.check, reader=reader).serve(scope, receive, send)

    def hand(self, *frames: bytes | None) -> None:
        for feed in self.feeds:
            feed.hand(*frames)


def event(n: int, size: int = 10) -> bytes:
    return b"id: %d\nevent: job.queued\ndata: %b\n\n" % (n, b"x" * size)


def numbers(heard: object) -> list[int]:
    return [int(each.id) for each in heard]  # type: ignore[attr-defined]


async def test_the_first_bytes_come_at_once() -> None:
    async with serving(House()) as port, subscribed(port) as here:
        await here.until_text(b"retry: ")

        assert here.status == 200
        assert here.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert here.headers["cache-control"] == "no-store, no-transform"
        assert here.headers["x-accel-buffering"] == "no"
        assert here.body.startswith(b":")
        assert 1000 <= (here.source.retry or 0) <= 5000


@pytest.mark.parametrize("drive", [True, False], ids=["driven", "in tasks"])
async def test_what_is_handed_out_arrives_in_order_and_the_end_is_an_end(drive: bool) -> None:
    house = House(drive=drive)
    async with serving(house) as port, subscribed(port) as here:
        await here.until_text(b"retry: ")
        house.hand(*(event(n) for n in range(1, 101)))
        await here.until_events(100)
        house.hand(event(101), None)

        assert numbers(await here.until_over()) == list(range(1, 102))
        assert here.ended_well
    assert house.feeds[0].closed


async def test_the_connection_can_be_used_again_after_the_end() -> None:
    house = House()
    house.prepare = lambda feed: feed.hand(event(1), None)
    async with serving(house) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert b"id: 1\n" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()
        await writer.wait_closed()


async def test_a_reader_who_has_everything_is_told_to_stay_away() -> None:
    house = House()
    house.prepare = lambda feed: setattr(feed, "spent", True)
    async with serving(house) as port, subscribed(port) as here:
        assert here.status == 204
        await until(lambda: house.feeds[0].closed)


async def test_who_asks_for_the_head_alone_gets_it_and_no_stream() -> None:
    house = House()
    async with serving(house) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()
    assert house.feeds[0].closed
    assert not house.counted


async def test_silence_is_filled_with_comments() -> None:
    house = House(QUICK)
    async with serving(house) as port, subscribed(port) as here:
        await here.until_text(b"\n:\n\n:\n\n:\n\n")

        assert here.source.events == []


async def test_an_idle_reader_costs_no_task_but_the_servers_own() -> None:
    house = House()
    async with serving(house) as port, AsyncExitStack() as stack:
        before = len(asyncio.all_tasks())
        readers = [await stack.enter_async_context(subscribed(port)) for _ in range(20)]
        house.hand(event(1))
        for here in readers:
            await here.until_events(1)

        assert len(asyncio.all_tasks()) == before + 20
        assert len(house.streams) == 20


async def test_who_leaves_while_idle_is_noticed_and_leaves_nothing_behind() -> None:
    house = House()
    async with serving(house) as port:
        before = len(asyncio.all_tasks())
        async with subscribed(port) as here:
            await here.until_text(b"retry: ")
            beat = house.streams._beat
        await until(lambda: not len(house.streams), within=1)
        await until(lambda: len(asyncio.all_tasks()) == before)
        gc.collect()

        assert not [each for each in gc.get_objects() if isinstance(each, EventStream)]
        assert house.feeds[0].closed
        assert house.feeds[0]._wake is None
        assert beat
        assert beat.cancelled()
        assert house.streams._beat is None


@pytest.mark.parametrize("http", [Protocol, HttpToolsProtocol], ids=["cut at once", "closed politely"])
@pytest.mark.parametrize("drive", [True, False], ids=["driven", "in tasks"])
async def test_a_reader_who_takes_nothing_is_cut_and_the_others_are_served(
    drive: bool, http: type[asyncio.Protocol], caplog: pytest.LogCaptureFixture
) -> None:
    house = House(QUICK, drive=drive)
    async with (
        serving(house, http=http, send_buffer=4096) as port,
        subscribed(port) as good,
        subscribed(port, window=4096),
    ):
        await until(lambda: len(house.streams) == 2)
        sent = 0
        while not house.counted["stream_cut"]:
            sent += 1
            house.hand(event(sent, 2000))
            await good.until_events(sent)
        await until(lambda: len(house.streams) == 1)

        assert house.feeds[1].closed
        assert house.feeds[1].frames
        assert numbers(good.source.events) == list(range(1, sent + 1))
        assert house.counted["stream_cut"] == 1
        if http is Protocol:
            assert not caplog.records


async def test_the_kernel_does_not_hide_that_somebody_reads_nothing() -> None:
    """Left alone it would take in all of this and more. Once cut off, he is told, and nothing is kept for him."""
    house = House(QUICK)
    async with serving(house) as port, subscribed(port, window=4096) as deaf:
        await until(lambda: len(house.streams) == 1)
        house.hand(*(event(n, 2000) for n in range(1, 501)))
        await until(lambda: house.counted["stream_cut"])

        with pytest.raises(ConnectionResetError):
            await deaf.until_over()


async def test_a_reader_who_is_only_slow_gets_everything_once() -> None:
    house = House()
    async with serving(house, send_buffer=4096) as port, subscribed(port, window=4096) as slow:
        await slow.until_text(b"retry: ")
        house.hand(*(event(n, 2000) for n in range(1, 201)))
        (stream,) = house.streams._open
        await until(lambda: stream._busy is not None)
        house.hand(*(event(n, 2000) for n in range(201, 401)))

        assert numbers(await slow.until_events(400)) == list(range(1, 401))
        await until(lambda: stream._busy is None)
        assert not house.counted["stream_cut"]


async def test_who_was_slow_once_is_not_cut_for_it_later() -> None:
    house = House(QUICK)
    async with serving(house, send_buffer=4096) as port, subscribed(port, window=4096) as slow:
        await slow.until_text(b"retry: ")
        (stream,) = house.streams._open
        house.hand(*(event(n, 2000) for n in range(1, 101)))
        await until(lambda: stream._busy is not None)
        await slow.until_events(100)
        recovered = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < recovered + 3 * QUICK.stream_send_within:
            assert not (await slow.more()).gone

        assert not house.counted["stream_cut"]


async def test_what_is_no_longer_in_memory_is_fetched_and_then_the_stream_is_live_again() -> None:
    house = House()
    house.prepare = lambda feed: feed.history.extend(event(n) for n in range(1, 6))
    async with serving(house) as port, subscribed(port) as here:
        await here.until_events(5)
        house.hand(event(6))

        assert numbers(await here.until_events(6)) == [1, 2, 3, 4, 5, 6]


async def test_a_reader_who_leaves_during_the_fetch_ends_it() -> None:
    house = House()
    house.prepare = lambda feed: feed.history.extend([event(1)] * 10**6)
    async with serving(house) as port:
        async with subscribed(port) as here:
            await here.until_events(10)
        await until(lambda: house.feeds[0].closed)

        left = len(house.feeds[0].history)
        await asyncio.sleep(0)
        assert len(house.feeds[0].history) == left


async def test_a_reader_who_leaves_does_not_wait_for_a_fetch_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_feed: Hand) -> bytes | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(Hand, "take", never)
    house = House()
    house.prepare = lambda feed: feed.history.append(b"")
    async with serving(house) as port:
        before = asyncio.all_tasks()
        async with subscribed(port):
            await until(lambda: len(asyncio.all_tasks() - before) == 2)
        await until(lambda: asyncio.all_tasks() <= before)


async def test_a_feed_that_fails_ends_the_stream_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.prepare = lambda feed: feed.history.append(RuntimeError("the database fell over"))
    async with serving(house) as port, subscribed(port) as here:
        (closed,) = await here.until_over()

        assert closed.type == "stream.closed"
        assert closed.json["code"] == "internal"
        assert "fell over" not in closed.data
        assert here.source.retry
        assert here.ended_well
    assert "the database fell over" in caplog.text


async def test_rights_are_looked_at_again_and_who_lost_them_hears_why_and_nothing_more() -> None:
    lost = asyncio.Event()
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1
        if lost.is_set():
            raise Forbidden("This key was revoked.")

    house = House(replace(QUICK, stream_recheck_every=0.1), check)
    async with serving(house) as port, subscribed(port) as here:
        await until(lambda: asked > 2)
        lost.set()
        heard = await here.until_over()
        house.hand(event(1))

        assert [each.type for each in heard] == ["stream.closed"]
        assert heard[0].json["code"] == "forbidden"
        assert heard[0].json["detail"] == "This key was revoked."
        assert here.ended_well
        assert house.counted["stream_refused"] == 1


async def test_no_page_of_history_goes_to_who_lost_the_right_to_it() -> None:
    pages = 0

    async def check() -> None:
        if pages == 2:
            raise Forbidden("This key was revoked.")

    class Counted(Hand):
        async def take(self) -> bytes | None:
            nonlocal pages
            pages += 1
            return await super().take()

    house = House(check=check)
    feed = Counted()
    feed.history.extend(event(n) for n in range(1, 6))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await house.streams.stream(feed, check).serve(scope, receive, send)

    async with serving(app) as port, subscribed(port) as here:
        heard = await here.until_over()

    assert [each.type for each in heard] == ["job.queued", "job.queued", "stream.closed"]
    assert pages == 2


async def test_who_may_no_longer_read_is_sent_away_within_a_second_and_the_others_stay() -> None:
    gone: set[str] = set()

    async def ended(readers: Collection[str]) -> Collection[str]:
        return gone & {*readers}

    house = House(ended=ended)
    async with serving(house) as port, subscribed(port, "/one") as one, subscribed(port, "/other") as other:
        house.hand(event(1))
        await one.until_events(1)
        gone.add("one")
        heard = await one.until_over(within=2 * ASKED_EVERY)
        house.hand(event(2))

        assert [each.type for each in heard] == ["job.queued", "stream.closed"]
        assert heard[-1].json["code"] == "not-authenticated"
        assert one.ended_well
        assert numbers(await other.until_events(2)) == [1, 2]
        assert house.counted["stream_refused"] == 1


async def test_all_readers_are_asked_about_in_one_question_a_second() -> None:
    asked: list[tuple[float, list[str]]] = []

    async def ended(readers: Collection[str]) -> Collection[str]:
        asked.append((asyncio.get_running_loop().time(), sorted(readers)))
        return ()

    house = House(ended=ended)
    async with serving(house) as port, AsyncExitStack() as stack:
        for n in range(20):
            await stack.enter_async_context(subscribed(port, f"/reader-{n % 2}"))
        await until(lambda: len(house.streams) == 20)
        before = len(asked)
        for n in range(1, 1001):
            house.hand(event(n))
        await until(lambda: len(asked) == before + 3)

    assert [readers for _, readers in asked[before:]] == [["reader-0", "reader-1"]] * 3
    times = [time for time, _ in asked]
    assert min(later - sooner for sooner, later in pairwise(times)) >= ASKED_EVERY - 0.01


async def test_while_nobody_can_say_who_may_read_everybody_reads_on(caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    async def ended(_readers: Collection[str]) -> Collection[str]:
        nonlocal asked
        asked += 1
        raise RuntimeError("the database fell over")

    house = House(ended=ended)
    async with serving(house) as port, subscribed(port) as here, subscribed(port, "/one"):
        await until(lambda: asked == 2)
        house.hand(event(1))
        assert numbers(await here.until_events(1)) == [1]
    assert "the database fell over" in caplog.text


async def test_a_stream_is_rotated_with_a_time_to_come_back() -> None:
    house = House(replace(QUICK, stream_rotate_after=0.3, stream_recheck_every=0.1))
    async with serving(house) as port, subscribed(port) as here:
        house.hand(event(1))
        await here.until_over()

        assert here.ended_well
        assert here.body.count(b"retry: ") == 2
        assert here.body.rstrip().splitlines()[-1].startswith(b"retry: ")
        assert house.counted["stream_rotated"] == 1


async def test_draining_sends_everyone_away_and_the_server_does_not_wait_for_the_idle() -> None:
    house = House()
    async with AsyncExitStack() as readers:
        async with serving(house, house.streams.drain) as port:
            here = [await readers.enter_async_context(subscribed(port)) for _ in range(50)]
            await until(lambda: len(house.streams) == 50)
            leaving = asyncio.get_running_loop().time()

        assert asyncio.get_running_loop().time() - leaving < 2
        retries = set()
        for reader in here:
            await reader.until_over()
            assert reader.ended_well
            retries.add(reader.source.retry)
        assert len(retries) > 40
        assert not len(house.streams)


async def test_a_draining_process_opens_no_stream() -> None:
    house = House()
    house.streams.drain()
    feed = Hand()

    with pytest.raises(Draining):
        house.streams.stream(feed)
    assert feed.closed


async def test_an_owner_may_have_so_many_streams_and_no_more() -> None:
    house = House(replace(CALM, streams_per_workspace=2))
    async with serving(house) as port:
        async with subscribed(port), subscribed(port):
            await until(lambda: len(house.streams) == 2)
            feed = Hand()
            with pytest.raises(TooManyRequests) as refused:
                house.streams.stream(feed)
            assert feed.closed
            assert refused.value.headers["Retry-After"]
            assert "Close some" in refused.value.detail
            house.streams.stream(Hand(), owner="somebody else")
        await until(lambda: not house.streams)
        house.streams.stream(Hand())


async def test_a_process_bears_so_many_streams_and_no_more() -> None:
    house = House(replace(CALM, streams_open=1))
    async with serving(house) as port, subscribed(port):
        await until(lambda: len(house.streams) == 1)
        with pytest.raises(TooManyRequests, match="in pages"):
            house.streams.stream(Hand(), owner="somebody else")


async def test_a_send_that_breaks_is_the_trouble_of_one_reader(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    victims = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal victims
        victims += 1
        broken = victims == 1

        async def breaking(message: object) -> None:
            if broken and b"id: 1" in message.get("body", b""):  # type: ignore[attr-defined]
                raise RuntimeError("a middleware fell over")
            await send(message)  # type: ignore[arg-type]

        await house({**scope, "extensions": {}}, receive, breaking)  # no connection, so that all goes through `send`

    async with serving(app) as port, subscribed(port) as first, subscribed(port) as second:
        await until(lambda: len(house.streams) == 2)
        house.hand(event(1))

        assert numbers(await second.until_events(1)) == [1]
        await first.until_over()
        assert not first.ended_well
        await until(lambda: len(house.streams) == 1)
    assert "a middleware fell over" in caplog.text


async def test_streams_work_on_the_other_protocol_of_the_server_too() -> None:
    house = House()
    async with serving(house, http=H11Protocol) as port, subscribed(port) as here:
        await here.until_text(b"retry: ")
        house.hand(event(1), event(2), None)

        assert numbers(await here.until_over()) == [1, 2]


async def test_a_cancelled_request_is_no_cut() -> None:
    house = House()
    feed = Hand()

    async def never() -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    async def nowhere(_message: object) -> None: ...

    serve = house.streams.stream(feed).serve({"type": "http"}, never, nowhere)
    task = asyncio.get_running_loop().create_task(serve)
    await until(lambda: len(house.streams) == 1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert feed.closed


async def test_ticks_tell_the_time() -> None:
    streams = Streams(CALM, random.Random(7))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await streams.stream(Ticks(SystemClock())).serve(scope, receive, send)

    async with serving(app) as port, subscribed(port) as here:
        first, second = await here.until_events(2)

        assert first.type == second.type == "tick"
        assert first.json["time"] < second.json["time"]
        assert first.json["time"].endswith("Z")
        assert first.id == ""
