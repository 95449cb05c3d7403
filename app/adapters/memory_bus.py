"""Nudges inside one process. What is nudged during one turn of the loop is heard once, in the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Lock

log = logging.getLogger(__name__)


class MemoryBus:
    """May be nudged from any thread; listeners are called on the loop that opened the bus."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[object, Callable[[str], None]] = {}
        self._waiting: dict[str, None] = {}
        self._lock = Lock()

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()

    def nudge(self, topics: Collection[str]) -> None:
        with self._lock:
            asleep = not self._waiting
            self._waiting.update(dict.fromkeys(topics))
            if asleep and self._waiting:
                self._wake()

    def listen(self, hear: Callable[[str], None]) -> Callable[[], None]:
        name = object()
        self._listeners[name] = hear
        return lambda: self._stop(name)

    async def check(self) -> None:
        """There is nothing that could be away."""

    async def close(self) -> None:
        self._loop = None
        self._listeners.clear()

    def _wake(self) -> None:
        if self._loop is None or self._loop.is_closed():
            self._waiting.clear()
        elif asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented, and does not raise off the loop
            self._loop.call_soon(self._deliver)
        else:
            with suppress(RuntimeError):  # it was closed in this very moment
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            topics, self._waiting = self._waiting, {}
        for topic in topics:
            for hear in tuple(self._listeners.values()):
                try:
                    hear(topic)
                except Exception:
                    log.exception("A listener failed on a nudge; the others go on.")

    def _stop(self, name: object) -> None:
        self._listeners.pop(name, None)
