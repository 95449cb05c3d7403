"""Holds the sender of a body to a pace: the first byte within 10 seconds, then at least 1 KB a second, and never more
than the limit. Someone who sends one byte a minute would otherwise keep a place for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

from app.web.parsing import refuse_size
from app.web.problems import TooSlow

PATIENCE = 10.0
LEAST_RATE = 1024.0


class Watch:
    """Cuts short whoever waits past their time. One timer for all of them, since one each would cost more than all the
    rest of a small request; so a cut may come late by `every` seconds.
    """

    def __init__(self, patience: float = PATIENCE, every: float = 0.5) -> None:
        self.patience = patience
        self._every = every
        self._due: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any], due: float) -> None:
        self._due[task] = due
        if self._timer is None:
            self._timer = task.get_loop().call_later(self._every, self._look, task.get_loop())

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task was cut."""
        return self._due.pop(task, None) is None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, due in self._due.items() if due < now]:
            del self._due[task]
            task.cancel()
        self._timer = loop.call_later(self._every, self._look, loop) if self._due else None


class Intake:
    """`receive` of one request that has a body, in time and within `limit` bytes."""

    def __init__(self, receive: Receive, limit: int, watch: Watch) -> None:
        self._receive = receive
        self._watch = watch
        self._room = limit
        self._limit = limit
        self._patience = watch.patience
        self._open = True

    async def __call__(self) -> Any:
        if not self._open:
            return await self._receive()
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        begun = loop.time()
        self._watch.begin(task, begun + self._patience)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._watch.end(task):
                task.uncancel()
                raise TooSlow("Send the body faster, or in pieces.", headers={"Connection": "close"}) from None
            raise
        self._watch.end(task)
        self._open = message.get("more_body", False)
        length = len(message.get("body", b""))
        self._room -= length
        if self._room < 0:
            refuse_size(self._limit)
        if self._open:
            waited = loop.time() - begun
            self._patience = min(self._watch.patience, self._patience - waited + length / LEAST_RATE)
        return message
