"""What streams rely on in the pinned uvicorn. When one of these fails after an update, `app.web.streams` has to be
looked at again; `Streams(drive=False)` does without the first."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from starlette.types import Receive, Scope, Send

from app.web.drive import begin
from app.web.streams import TRANSPORT
from tests.serving import serving
from tests.subscriber import subscribed
from tests.waiting import until

PIECE = b"x" * 16384


class Held:
    """Keeps a request open and its parts at hand."""

    def __init__(self) -> None:
        self.scope: Scope = {}
        self.send: Send | None = None
        self.last = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.scope, self.send = scope, send
        while self.last != "http.disconnect":
            self.last = (await receive())["type"]

    def write(self, *, more: bool = True) -> Awaitable[None] | None:
        assert self.send
        return begin(self.send({"type": "http.response.body", "body": PIECE, "more_body": more}))


async def test_a_write_waits_only_for_a_reader_who_is_slow_and_goes_on_when_he_reads() -> None:
    held = Held()
    async with serving(held, send_buffer=4096) as port, subscribed(port, window=4096) as here:
        pieces, rest = 0, None
        while rest is None:
            assert pieces < 100, "nothing ever has to wait"
            pieces += 1
            rest = held.write()
        assert pieces > 4, "it waits for one who has had no time to be slow"
        finishing = asyncio.get_running_loop().create_task(_finish(rest))
        while len(here.body) < pieces * len(PIECE):
            await here.more()
        await finishing


async def _finish(rest: Awaitable[None]) -> None:
    await rest


async def test_a_write_that_waits_ends_when_its_reader_leaves() -> None:
    held = Held()
    async with serving(held, send_buffer=4096) as port:
        async with subscribed(port, window=4096):
            rest = None
            while rest is None:
                rest = held.write()
        await asyncio.wait_for(_finish(rest), 5)
        await until(lambda: held.last == "http.disconnect")


async def test_after_the_last_piece_the_request_is_told_that_it_is_over() -> None:
    held = Held()
    async with serving(held) as port, subscribed(port) as here:
        assert held.write(more=False) is None
        await here.until_over()
        await until(lambda: held.last == "http.disconnect")


async def test_an_aborted_connection_ends_the_request_at_once_whatever_was_waiting() -> None:
    held = Held()
    async with serving(held, send_buffer=4096) as port, subscribed(port, window=4096):
        rest = None
        while rest is None:
            rest = held.write()
        held.scope["extensions"][TRANSPORT].abort()
        await until(lambda: held.last == "http.disconnect")
        await asyncio.wait_for(_finish(rest), 5)


async def test_a_server_that_stops_tells_the_streams_before_it_waits_for_them() -> None:
    held = Held()
    asked: list[str] = []

    def drain() -> None:
        asked.append(held.last)
        held.write(more=False)

    async with asyncio.timeout(5), AsyncExitStack() as reader:
        async with serving(held, drain) as port:
            here = await reader.enter_async_context(subscribed(port))
            await until(lambda: held.last == "http.request")
        await here.until_over()

        assert asked == ["http.request"]
        assert here.ended_well
