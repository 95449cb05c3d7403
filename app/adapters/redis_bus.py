"""Nudges between processes, through Redis. It holds nothing: what is lost there is found at the next look.

The processes of one installation share one channel, and what one of them nudges during a turn of its loop is one
message on it. Its own listeners hear that without Redis. While Redis is away each process looks once a second, as
without one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.adapters.memory_bus import MemoryBus
from app.core.errors import Unavailable
from app.ports import EVERYTHING

_PATIENCE = 5.0
"""Seconds for a connection, and for an answer."""
_QUIET = 10.0
"""Seconds without a word until Redis is asked whether it is still there."""
_FIRST = 1.0
"""Seconds that the start of a process may wait to hear of Redis, good or bad."""
_SOONEST, _LATEST = 0.1, 5.0
"""Seconds between tries to come back, doubling, half of it to one and a half."""

log = logging.getLogger(__name__)


class RedisBus:
    """May be nudged from any thread. `channel` is the same for every process of one installation, and no other's."""

    def __init__(self, url: str, channel: str) -> None:
        self._redis = Redis.from_url(
            url, socket_connect_timeout=_PATIENCE, socket_timeout=_PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._channel = channel
        self._me = secrets.token_hex(8)
        self._here = MemoryBus()
        self._leaving = MemoryBus()
        self._unsaid: dict[str, None] = {}
        self._something_to_say = asyncio.Event()
        self._connected = asyncio.Event()
        self._tried = asyncio.Event()
        self._trouble = ""
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._here.open()
        await self._leaving.open()
        self._leaving.listen(self._say_soon)
        self._running = asyncio.get_running_loop().create_task(self._stay_connected())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), _FIRST)

    def nudge(self, topics: Collection[str]) -> None:
        self._here.nudge(topics)
        self._leaving.nudge(topics)

    def listen(self, hear: Callable[[str], None]) -> Callable[[], None]:
        return self._here.listen(hear)

    async def check(self) -> None:
        if not self._connected.is_set():
            trouble = self._trouble or "It was not reached yet."
            raise Unavailable(f"Redis is away: news from other processes comes up to a second later. {trouble}")

    async def close(self) -> None:
        await self._here.close()
        await self._leaving.close()
        while self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait([self._running], timeout=_FIRST)
        await self._redis.aclose()

    def _say_soon(self, topic: str) -> None:
        self._unsaid[topic] = None
        self._something_to_say.set()

    # Staying connected

    async def _stay_connected(self) -> None:
        pause = _SOONEST
        while True:
            try:
                await self._converse()
            except* Exception as lost:  # noqa: BLE001  # whatever it was, nudges must go on
                self._lost(lost)
            pause = _SOONEST if self._connected.is_set() else min(2 * pause, _LATEST)
            self._connected.clear()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads them apart, guards nothing

    async def _converse(self) -> None:
        """Until the connection is lost, in whichever direction that is noticed first."""
        async with self._subscribed() as subscription, asyncio.TaskGroup() as both:
            both.create_task(self._hear(subscription))
            both.create_task(self._say())

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[PubSub]:
        subscription = self._redis.pubsub()
        try:
            await subscription.subscribe(self._channel)
            yield subscription
        finally:
            await subscription.aclose()  # type: ignore[no-untyped-call]
            await self._redis.connection_pool.disconnect()

    def _arrived(self) -> None:
        """Who was away may have missed something."""
        self._connected.set()
        self._tried.set()
        self._trouble = ""
        self._here.nudge([EVERYTHING])
        log.info("Connected to Redis.")

    def _lost(self, why: BaseExceptionGroup[Any]) -> None:
        error: BaseException = why
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._tried.set()
        known, self._trouble = self._trouble, f"{type(error).__name__}: {error}"
        if not known:
            log.warning("Redis is away: news from other processes comes up to a second later. %s", self._trouble)

    # What is said there

    async def _say(self) -> None:
        while not _called_off():
            await self._something_to_say.wait()
            self._something_to_say.clear()
            topics, self._unsaid = self._unsaid, {}
            try:
                await self._redis.publish(self._channel, "\n".join((self._me, *topics)))
            except BaseException:
                self._unsaid |= topics
                self._something_to_say.set()
                raise

    async def _hear(self, subscription: PubSub) -> None:
        asked = False
        while not _called_off():
            said = await subscription.get_message(timeout=_QUIET)
            if said is None and asked:
                raise TimeoutError("It does not answer.")
            if said is None:
                await subscription.ping()
            elif said["type"] == "subscribe":
                self._arrived()
            elif said["type"] == "message":
                speaker, *topics = said["data"].decode(errors="replace").split("\n")
                if speaker != self._me:
                    self._here.nudge(topics)
            asked = said is None


def _called_off() -> bool:
    """A cancellation that comes in the middle of an answer is swallowed by the client."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
