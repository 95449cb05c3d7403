"""A stream that is not from the log: the time, every two seconds. `GET stream-test` shows with it whether streams get
through whatever stands between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.ports import Clock

EVERY = 2.0


class Ticks:
    """The first tick comes at once. A reader who was slow is told the time once, not once for each tick he missed."""

    spent = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due = True
        self._wake: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ready(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake
        if wake and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._strike)

    async def take(self) -> bytes | None:
        return self.take_now()

    def take_now(self) -> bytes | None:
        if not self._due:
            return b""
        self._due = False
        time = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f'event: tick\ndata: {{"time":"{time}"}}\n\n'.encode()

    def close(self) -> None:
        self._wake = None
        if self._timer:
            self._timer.cancel()

    def _strike(self) -> None:
        self._due = True
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._strike)
        if self._wake:
            self._wake()
