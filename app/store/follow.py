"""[6] of the line: following the log. One reader per process and workspace fetches what is new, encodes it once and
wakes its followers. The bus only hints: with every nudge lost, a look at the counters each second finds the same.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import FieldError, InvalidRequest
from app.core.uncut import uncut
from app.ports import EVERYTHING, Clock
from app.rules import Rules
from app.store.follower import Follower
from app.store.history import Extent, Filter, Frame, extent_of, extents, last_of, read_frames
from app.store.tail import Tail

log = logging.getLogger(__name__)

_DIGITS = re.compile("[0-9]+")

T = TypeVar("T")
Reads: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncSession]]

CATCH_UPS_AT_ONCE = 3
"""Readers that come back all at once wait for one another here, not for each other's database connections."""
KEEP_UPS_AT_ONCE = 2
WOKEN_AT_ONCE = 500
"""Then others have their turn on the loop."""


class Hub:
    """Wired with `bus.listen(hub.hear)`. `read` opens a snapshot, as `Database.read` does."""

    def __init__(self, read: Reads, clock: Clock, rules: Rules) -> None:
        self._read = read
        self._clock = clock
        self._rules = rules
        self._tails: dict[str, Tail] = {}
        self._poller: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(CATCH_UPS_AT_ONCE)
        self._keeping_up = asyncio.Semaphore(KEEP_UPS_AT_ONCE)

    def hear(self, topic: str) -> None:
        if topic == EVERYTHING:
            for each in self._tails.values():
                self._refresh(each)
        elif topic.startswith("w:") and (tail := self._tails.get(topic[2:])):
            self._refresh(tail)

    async def follow(  # noqa: PLR0913  # who follows, from where, what, and when it is over
        self,
        workspace: str,
        *,
        after: int | str | None = None,
        job: str | None = None,
        run: str | None = None,
        types: frozenset[str] = frozenset(),
        final: frozenset[str] = frozenset(),
        reopened: frozenset[str] = frozenset(),
        ended: bool = False,
        snapshot: str | None = None,
    ) -> Follower:
        """Events from now on, or after a number: an int from the query must exist; the text of a Last-Event-ID may be
        from another life of the database, which is answered with `stream.reset` and the link `snapshot`. A stream about
        one job or run is over after the last of its `final` types, or, if it has `ended`, when nothing is left to say;
        one that came after it of the `reopened` types takes it back.

        Raises:
            InvalidRequest: there is no such place to start from.
        """
        given = number(after)
        wanted = Filter(job, run, types)
        ending = (Filter(job, run, final), Filter(job, run, reopened)) if final and (job or run) else None
        tail = self._tails.get(workspace)
        if tail and tail.knows(given) and not ending and not ended:
            extent, until = Extent(tail.head, tail.first - 1), None
        else:
            extent, until = await self._ask(self._catching_up, partial(_survey, workspace=workspace, ending=ending))
        until = until or (extent.newest if ended else None)
        start, reset = _start(given, extent, came_back=isinstance(after, str))
        follower = Follower(self, self._tail(workspace, extent), wanted, final, snapshot)
        follower.begin(start, until, ends_from=until or extent.newest + 1, reset=reset)
        follower.spent = isinstance(after, str) and not reset and until is not None and until <= start
        return follower

    async def catch_up(self, workspace: str, after: int, wanted: Filter) -> tuple[list[Frame], Extent, bool]:
        """A page of history, where the log stood when it was read, and whether that page is all there was."""
        page = self._rules.stream_page

        async def look(session: AsyncSession) -> tuple[Extent, list[Frame]]:
            extent = await extent_of(session, workspace)
            return extent, await read_frames(session, workspace, after, page, wanted)

        extent, frames = await self._ask(self._catching_up, look)
        return frames, extent, len(frames) < page

    def left(self, tail: Tail) -> None:
        """Called when a follower has gone: an unfollowed workspace is no longer read."""
        if not tail.followed and self._tails.get(tail.workspace) is tail:
            del self._tails[tail.workspace]
        if not self._tails and self._poller:
            self._poller.cancel()
            self._poller = None

    async def close(self) -> None:
        tasks = [tail.reading for tail in self._tails.values() if tail.reading]
        tasks += [self._poller] if self._poller else []
        self._tails.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tail(self, workspace: str, extent: Extent) -> Tail:
        """Begins a page before the newest event, so that most of those who come back after a restart find in memory
        what they missed."""
        tail = self._tails.get(workspace)
        if tail is None:
            start = max(extent.trimmed, extent.newest - self._rules.stream_page)
            tail = self._tails[workspace] = Tail(workspace, start, self._rules.ring)
        if tail.head < extent.newest:
            self._refresh(tail)
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        return tail

    async def _ask(self, turns: asyncio.Semaphore, look: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """One look at one snapshot, when it is its turn, and finished once it was begun."""

        async def reading() -> T:
            async with self._read() as session:
                return await look(session)

        async with turns:
            return await uncut(reading())

    def _refresh(self, tail: Tail) -> None:
        tail.stale = True
        if tail.reading is None:
            tail.reading = asyncio.get_running_loop().create_task(self._keep_up(tail))

    async def _keep_up(self, tail: Tail) -> None:
        """Read until nothing is new. When that fails, the next poll begins again."""
        try:
            while tail.stale and tail.followed:
                tail.stale = False
                page, after = self._rules.stream_page, tail.head
                look = partial(read_frames, workspace=tail.workspace, after=after, limit=page)
                frames = await self._ask(self._keeping_up, look)
                tail.stale |= len(frames) == page
                for woken, follower in enumerate(tail.append(frames), start=1):
                    follower.wake()
                    if woken % WOKEN_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except Exception:
            log.exception("The log of %s could not be read; trying again.", tail.workspace)
        finally:
            tail.reading = None

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(self._rules.poll_every)
            try:
                look = partial(extents, workspaces=list(self._tails))
                found = await self._ask(self._keeping_up, look)
            except Exception:
                log.exception("The counters could not be read; trying again.")
                continue
            for workspace, extent in found.items():
                tail = self._tails.get(workspace)
                if tail and tail.head < extent.newest:
                    self._refresh(tail)


async def _survey(
    session: AsyncSession, workspace: str, ending: tuple[Filter, Filter] | None
) -> tuple[Extent, int | None]:
    """How far the log goes, and the number of the final event, if it has happened and was not taken back."""
    extent = await extent_of(session, workspace)
    if ending is None:
        return extent, None
    final, reopened = ending
    last = await last_of(session, workspace, final)
    back = await last_of(session, workspace, reopened) if last and reopened.types else None
    return extent, None if last and back and back > last else last


def number(after: int | str | None) -> int | None:
    """A number as it was given; one with too many digits is only known to be beyond every event.

    Raises:
        InvalidRequest: it is none.
    """
    if after is None:
        return None
    text = str(after)
    if not _DIGITS.fullmatch(text):
        name = "/query/after" if isinstance(after, int) else "/header/last-event-id"
        wrong = FieldError(name, "The number of an event: digits only.", "cursor")
        raise InvalidRequest("There is no such place in the stream.", errors=[wrong])
    return int(text[:20])


def beyond(where: str, newest: int) -> InvalidRequest:
    """What is told to whoever asks for what comes after an event that there has not been: such a reader would wait in
    vain, and then miss what comes."""
    detail = f"The newest event is number {newest}: go on after that one, or after one before it."
    return InvalidRequest(
        f"There is no such place in the stream. {detail}", errors=[FieldError(where, detail, "cursor")]
    )


def _start(given: int | None, extent: Extent, *, came_back: bool) -> tuple[int, bool]:
    """Where to begin, and whether that leaves something out which the reader has to be told."""
    newest, trimmed = extent
    if given is None:
        return newest, False
    if given > newest:
        if came_back:
            return newest, True
        raise beyond("/query/after", newest)
    return max(given, trimmed), given < trimmed
