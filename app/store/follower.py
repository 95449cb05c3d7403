"""One reader's place in the log. It is no queue: when it falls behind what is kept in memory it reads on from the
database, and when that was trimmed it says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from app.core.feed import Behind
from app.store.history import Extent, Filter, Frame
from app.store.tail import Tail

NOTHING: frozenset[str] = frozenset()
"""One for all: an empty set weighs as much as a follower."""


class Source(Protocol):
    """What a follower needs from the hub."""

    async def catch_up(self, workspace: str, after: int, wanted: Filter) -> tuple[list[Frame], Extent, bool]:
        """A page of history, where the log stood when it was read, and whether that page is all there was."""
        ...

    def left(self, tail: Tail) -> None:
        """Called when a follower has gone."""
        ...


class Follower:
    """A place in the log and a filter. `_next` is the number to look at next, or None when all that was read so far has
    been seen or is of no concern."""

    __slots__ = (
        "_ends_from",
        "_final",
        "_first_words",
        "_looked_for",
        "_next",
        "_over",
        "_snapshot",
        "_source",
        "_tail",
        "_unfiltered",
        "_until",
        "_wake",
        "_wanted",
        "spent",
    )

    def __init__(self, source: Source, tail: Tail, wanted: Filter, final: frozenset[str], snapshot: str | None) -> None:
        self._source = source
        self._tail = tail
        self._wanted = wanted
        self._unfiltered = wanted == Filter()
        self._final = final if wanted.job or wanted.run else NOTHING
        self._looked_for = replace(wanted, types=wanted.types | self._final) if wanted.types else wanted
        self._snapshot = snapshot
        self._wake: Callable[[], None] | None = None
        self.spent = False
        tail.join(self, wanted)

    def begin(self, start: int, until: int | None, *, ends_from: int, reset: bool) -> None:
        """A final event numbered before `ends_from` was taken back by a later one. An id without data dispatches
        nothing, but a browser remembers it: who is cut off before the first event comes back to this very place."""
        self._next: int | None = start + 1
        self._until = until
        self._ends_from = ends_from
        self._over = until is not None and until <= start
        self._first_words = self._reset(start) if reset else b"id: %d\n\n" % start

    def ready(self, wake: Callable[[], None] | None) -> None:
        self._wake = wake

    def notice(self, seq: int) -> None:
        if self._next is None:
            self._next = seq

    def wake(self) -> None:
        if self._wake:
            self._wake()

    def take_now(self) -> bytes | None:
        if self._first_words:
            words, self._first_words = self._first_words, b""
            return words
        tail, body = self._tail, b""
        while not body and not self._over and self._next is not None and self._next <= tail.head:
            if self._unfiltered:
                body, last = tail.joined_since(self._next)
            else:
                frames = tail.since(self._next)
                body, last = self._sifted(frames), frames[-1].seq
            self._seen(last)
        return body if body or not self._over else None

    async def take(self) -> bytes | None:
        while True:
            try:
                return self.take_now()
            except Behind:
                if body := await self._page():
                    return body

    def close(self) -> None:
        self._wake = None
        self._tail.leave(self, self._wanted)
        self._source.left(self._tail)

    async def _page(self) -> bytes:
        after = self._next - 1 if self._next else 0
        frames, extent, whole = await self._source.catch_up(self._tail.workspace, after, self._looked_for)
        if extent.trimmed > after:
            self._next = extent.trimmed + 1
            return self._reset(extent.trimmed)
        body = self._sifted(frames)
        self._seen(extent.newest if whole else frames[-1].seq)
        return body

    def _sifted(self, frames: Iterable[Frame]) -> bytes:
        wanted, kept = self._wanted, []
        for frame in frames:
            if wanted.about(frame.job, frame.run):
                if not wanted.types or frame.type in wanted.types:
                    kept.append(frame.text)
                if frame.type in self._final and frame.seq >= self._ends_from:
                    self._over = True
                    break
        return b"".join(kept)

    def _seen(self, last: int) -> None:
        self._next = None if last == self._tail.head else last + 1
        if self._until is not None and last >= self._until:
            self._over = True

    def _reset(self, seq: int) -> bytes:
        data = json.dumps({"seq": seq, "snapshot": self._snapshot}, separators=(",", ":"))
        return f"id: {seq}\nevent: stream.reset\ndata: {data}\n\n".encode()
