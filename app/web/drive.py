"""Taking the first step of an awaitable by hand. What never has to wait, as a server's `send` to a reader who keeps up,
is done then, without a task; what has to wait can be awaited from there on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any


def begin(work: Awaitable[None]) -> Awaitable[None] | None:
    """Run `work` up to where it has to wait, and give back the rest of it, if any. Whatever it raises comes through.

    It runs in no task or in that of somebody else, so it must not ask which task it is in: no `asyncio.timeout`,
    no task group, no anyio.
    """
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration:
        return None
    return _Rest(steps, waits_for)


class _Rest:
    """A task that awaits this is handed what the first step came back with, and waits for it, as PEP 492 has it."""

    def __init__(self, steps: Generator[Any, Any, None], waits_for: object) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._waits_for
        except BaseException:
            self._steps.close()
            raise
        yield from self._steps
