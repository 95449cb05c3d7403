"""Server-sent events over plain ASGI: whatever a feed hands out, written to as many readers as there are sockets.

An idle reader costs no task and no timer of ours. A write goes straight onto the connection where nothing waits there;
else the server's `send` is called, and its first step is taken by hand. Only when it has to wait, because the reader is
slow, does a task carry the rest; a reader that then does not move for `stream_send_within` seconds is cut off. One beat
for all looks after comments, rights, rotation and the slow. These times are the network's, so they are never scaled.
Rights are looked at before each page of history, each minute, and, for all readers in one question, each second.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from app.core.errors import Problem
from app.core.feed import Behind, Feed
from app.core.uncut import uncut
from app.rules import Rules
from app.web.drive import begin
from app.web.frames import COMMENT, GREETING, HEADERS, closed, come_back
from app.web.places import Places
from app.web.rollcall import Ended, RollCall
from app.web.straight import Straight, keep_short, sever

log = logging.getLogger(__name__)

Check = Callable[[], Coroutine[Any, Any, None]]
"""Raises a Problem when the reader may no longer read."""

REVIEWS_AT_ONCE = 8
TRANSPORT = "darkroom.transport"
"""The ASGI extension under which `app.web.server` hands out the connection, so that a stuck one can be cut at once."""


class Streams:
    """All open streams of this process. `count` is told `stream_opened`, `stream_cut`, `stream_rotated` and
    `stream_refused`; `ended` says which readers may read no longer. With `drive=False` each write is a task of its own:
    slower, for servers or middleware whose `send` must run in a task (anyio, `asyncio.timeout`)."""

    def __init__(
        self,
        rules: Rules,
        chance: random.Random,
        count: Callable[[str], None] = lambda _name: None,
        *,
        drive: bool = True,
        ended: Ended | None = None,
    ) -> None:
        self.rules = rules
        self.count = count
        self.drive = drive
        self.now = 0.0
        self.chance = chance
        self.reviews = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self.retry = partial(come_back, chance)
        self.straight = Straight()
        self._open: set[EventStream] = set()
        self._roll = RollCall(ended, lambda: tuple(self._open))
        self._places = Places(rules)
        self._beat: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def stream(self, feed: Feed, check: Check | None = None, *, owner: str = "", reader: str = "") -> EventStream:
        """What a handler returns. `owner` is whose streams are counted together, `reader` the key or session it is for.
        Raises Draining, or TooManyRequests when there are as many as there may be."""
        try:
            self._places.look_for(owner)
        except Problem:
            feed.close()
            raise
        return EventStream(self, feed, check, owner, reader)

    def drain(self) -> None:
        """Send every reader away, to come back a little later and not all at once."""
        self._places.closed = True
        for stream in tuple(self._open):
            stream.end(self.retry())

    def add(self, stream: EventStream) -> None:
        self._open.add(stream)
        self._places.take(stream.owner)
        self.count("stream_opened")
        if self._beat is None:
            self._look_again()

    def discard(self, stream: EventStream) -> None:
        if stream in self._open:
            self._open.remove(stream)
            self._places.leave(stream.owner)
        if not self._open and self._beat:
            self._beat.cancel()
            self._beat = None

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        every = min(0.5, self.rules.stream_send_within / 4, self.rules.stream_comment_every / 8)
        self._beat = loop.call_later(every, self._look)
        self.now = loop.time()

    def _look(self) -> None:
        self._look_again()
        self._roll.attend(self.now)
        for stream in tuple(self._open):
            stream.attend(self.now)


class EventStream:
    """One reader. It is idle, or `_busy` with a task that carries what could not be done at once: a write that has to
    wait, a page from the database, a look at the reader's rights. Nothing else is written meanwhile."""

    __slots__ = (
        "_busy",
        "_check",
        "_farewell",
        "_feed",
        "_finished",
        "_quiet",
        "_review_at",
        "_rotate_at",
        "_send",
        "_sending_since",
        "_serving",
        "_severed",
        "_spoke",
        "_streams",
        "_transport",
        "owner",
        "reader",
    )

    def __init__(self, streams: Streams, feed: Feed, check: Check | None, owner: str, reader: str) -> None:
        self.owner = owner
        self.reader = reader
        self._streams = streams
        self._feed = feed
        self._check = check
        self._busy: asyncio.Task[None] | None = None
        self._farewell: bytes | None = None
        self._finished = False
        self._severed = False
        self._sending_since: float | None = None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the reader leaves or the stream ends; then nothing of it is left."""
        try:
            status, headers = (204, HEADERS[1:2]) if self._feed.spent else (200, HEADERS)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            if self._feed.spent or scope.get("method") == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            self._begin(scope, send)
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not self._severed:
                raise
        finally:
            await self._close()

    def pump(self) -> None:
        """Write what there is, until there is no more or something has to be waited for."""
        while self._busy is None and not self._finished:
            if self._farewell is not None:
                self._finished = True
                self._write(self._farewell, more=False)
            elif self._streams.now >= self._review_at:
                self._carry(self._review())
            else:
                try:
                    body = self._feed.take_now()
                except Behind:
                    return self._carry(self._catch_up())
                if body is None:
                    self._farewell = b""
                elif body:
                    self._write(body)
                else:
                    return None
        return None

    def attend(self, now: float) -> None:
        """Called with every beat."""
        if self._sending_since is not None:
            if now - self._sending_since > self._streams.rules.stream_send_within:
                self._streams.count("stream_cut")
                self._sever()
        elif self._busy is None and not self._finished:
            if now >= self._review_at:
                self.pump()
            elif now - self._spoke >= self._quiet:
                self._write(COMMENT)

    def end(self, farewell: bytes) -> None:
        """Say this and no more."""
        if self._farewell is None:
            self._farewell = farewell
        self.pump()

    def refuse(self, error: BaseException) -> None:
        if self._farewell is None:
            self._streams.count("stream_refused")
            self.end(self._streams.retry() + closed(error))

    def _begin(self, scope: Scope, send: Send) -> None:
        streams, rules = self._streams, self._streams.rules
        streams.add(self)
        self._send = send
        self._serving = asyncio.current_task()
        self._transport = keep_short((scope.get("extensions") or {}).get(TRANSPORT), rules.stream_held)
        self._quiet = rules.stream_comment_every * streams.chance.uniform(0.8, 1.0)
        self._rotate_at = streams.now + rules.stream_rotate_after * streams.chance.uniform(0.8, 1.2)
        self._review_at = streams.now + rules.stream_recheck_every * streams.chance.random()
        self._write(GREETING + streams.retry())
        self._feed.ready(self.pump)
        self.pump()

    def _write(self, body: bytes, *, more: bool = True) -> None:
        self._spoke = self._streams.now
        if more and self._streams.drive and self._streams.straight.write(self._transport, body):
            return None
        message = {"type": "http.response.body", "body": body, "more_body": more}
        if not self._streams.drive:
            return self._carry(self._wait_for(self._send(message)))
        try:
            rest = begin(self._send(message))
        except Exception as error:  # noqa: BLE001 - a reader's trouble is not that of the others
            return self._lost(error)
        return self._carry(self._wait_for(rest)) if rest else None

    def _carry(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = asyncio.get_running_loop().create_task(work)
        self._busy.add_done_callback(self._freed)

    def _freed(self, done: asyncio.Task[None]) -> None:
        self._busy = None
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self.pump()
        elif self._sending_since is not None:
            self._lost(error)
        else:
            self.refuse(error)

    async def _wait_for(self, sending: Awaitable[None]) -> None:
        self._sending_since = self._streams.now
        await sending
        self._sending_since = None

    async def _catch_up(self) -> None:
        await self._check_rights()
        if (body := await self._feed.take()) is None:
            self._farewell = b""
        elif body:
            await self._wait_for(self._send({"type": "http.response.body", "body": body, "more_body": True}))

    async def _review(self) -> None:
        await self._check_rights()
        streams = self._streams
        self._review_at = min(streams.now + streams.rules.stream_recheck_every, self._rotate_at)
        if streams.now >= self._rotate_at:
            streams.count("stream_rotated")
            self._farewell = streams.retry()

    async def _check_rights(self) -> None:
        if self._check is not None:
            async with self._streams.reviews:
                await uncut(self._check())

    def _lost(self, error: BaseException) -> None:
        if not isinstance(error, OSError):
            log.error("Writing to a stream failed.", exc_info=error)
        self._sever()

    def _sever(self) -> None:
        """Where the server does not hand out the connection, ending the request has to do: it closes politely, and a
        reader that takes nothing then keeps a socket until TCP gives up."""
        self._finished = self._severed = True
        self._sending_since = None
        if self._transport is not None:
            sever(self._transport)
        elif self._serving is not None:
            self._serving.cancel()

    async def _close(self) -> None:
        self._finished = True
        self._feed.close()
        self._streams.discard(self)
        if self._busy is not None:
            self._busy.cancel()
            await asyncio.wait([self._busy])
