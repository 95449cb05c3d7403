"""Nudges between processes, never facts: with every nudge lost all still arrives, only later. And the clock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

EVERYTHING = "*"
"""The topic heard when nudges may have been lost: there may be something new under every other one."""


class Bus(Protocol):
    def nudge(self, topics: Collection[str]) -> None:
        """Say that something is new under these topics (`w:{workspace}`, `tasks`). Never blocks, never raises."""
        ...

    def listen(self, hear: Callable[[str], None]) -> Callable[[], None]:
        """Call `hear(topic)` on the event loop for each nudge heard; call what is returned to stop."""
        ...

    async def open(self) -> None: ...

    async def check(self) -> None:
        """Raises `Unavailable`."""
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall time, UTC, aware."""
        ...

    def monotonic(self) -> float: ...

    def after(self, seconds: float) -> datetime:
        """`seconds` of the service's own pace from now: divided by DARKROOM_TIME_FACTOR in sandbox time."""
        ...

    def agree_with(self, other: datetime) -> None:
        """Go by a clock that shows this now."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of the service's own pace."""
        ...
