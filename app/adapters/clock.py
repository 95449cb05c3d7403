"""The machine's clock, and the service's own pace: against a sandbox whose time runs faster, our waits shrink too."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

_SAME = timedelta(seconds=1)
"""Clocks this near each other agree: to ask takes time as well."""
_COUNTED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's other clock that cannot be set stands still while the machine is suspended; on a Mac there is but one."""


class SystemClock:
    """`time_factor` divides every wait and every due time; what the wall says is never changed. Once it has agreed with
    another clock it counts on from there, and whoever sets this machine's changes nothing. What it counts goes on while
    the machine is suspended."""

    def __init__(self, time_factor: float = 1.0) -> None:
        if time_factor <= 0:
            raise ValueError(f"A time factor has to be above zero, not {time_factor}.")
        self._factor = time_factor
        self._agreed: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        if self._agreed is None:
            return datetime.now(UTC)
        then, since = self._agreed
        return then + timedelta(seconds=self.monotonic() - since)

    def monotonic(self) -> float:
        return time.clock_gettime(_COUNTED)

    def after(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds / self._factor)

    def agree_with(self, other: datetime) -> None:
        if self._agreed is None or abs(other - self.now()) > _SAME:
            self._agreed = other.astimezone(UTC), self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._factor)
