"""Whether those who read streams still may: one question a second for all of them together. A key that was revoked
stops reading at once, in every process, and no reader costs a look of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeAlias

from app.core.errors import NotAuthenticated

log = logging.getLogger(__name__)

ASKED_EVERY = 1.0
"""As long as an answer is believed for a request."""

Ended: TypeAlias = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Which of these keys and sessions may no longer be used."""


class Reader(Protocol):
    """An open stream. `reader` is the key or session with which it was opened; nobody's is empty."""

    reader: str

    def refuse(self, error: BaseException) -> None: ...


class RollCall:
    """`present` gives the streams that are open."""

    def __init__(self, ended: Ended | None, present: Callable[[], Collection[Reader]]) -> None:
        self._ended = ended
        self._present = present
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    def attend(self, now: float) -> None:
        """Called with every beat."""
        if self._ended is not None and self._asking is None and now - self._asked_at >= ASKED_EVERY:
            self._asked_at = now
            self._asking = asyncio.get_running_loop().create_task(self._ask(self._ended))
            self._asking.add_done_callback(self._answered)

    async def _ask(self, ended: Ended) -> None:
        readers = {each.reader for each in self._present() if each.reader}
        if not readers:
            return
        gone = frozenset(await ended(readers))
        for each in self._present() if gone else ():
            if each.reader in gone:
                each.refuse(NotAuthenticated("This key or session has ended: expired, revoked or signed out."))

    def _answered(self, done: asyncio.Task[None]) -> None:
        self._asking = None
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("It could not be asked who may still read; asking again.", exc_info=error)
