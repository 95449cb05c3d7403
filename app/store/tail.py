"""The newest frames of one workspace in memory, and everyone who follows it. A follower is a place in the log, not a
queue: an event is kept once, however many read it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from app.core.feed import Behind
from app.store.history import Filter, Frame

FRAMES_AT_ONCE = 64
"""What one write carries: events are thin, so this is some 20 KB."""


class Noticing(Protocol):
    def notice(self, seq: int) -> None:
        """There may be something for you, from number `seq` on if you had seen all before it."""
        ...

    def wake(self) -> None: ...


class Tail:
    """Numbers are dense, so a frame is found by subtraction. Followers stand under what they filter on: an event of one
    job wakes those who watch that job, not ten thousand others."""

    def __init__(self, workspace: str, start: int, keep: int) -> None:
        self.workspace = workspace
        self.first = start + 1
        self.head = start
        self.stale = False
        self.reading: asyncio.Task[None] | None = None
        self._keep = keep
        self._frames: list[Frame] = []
        self._followers: dict[str, set[Noticing]] = {}
        self._joined = (0, 0, b"")

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    def knows(self, seq: int | None) -> bool:
        """Whether a follower can begin after number `seq` (None: now) without a look at the database."""
        settled = self.reading is None and not self.stale
        return settled and (seq is None or self.first - 1 <= seq <= self.head)

    def join(self, follower: Noticing, wanted: Filter) -> None:
        self._followers.setdefault(_place(wanted), set()).add(follower)

    def leave(self, follower: Noticing, wanted: Filter) -> None:
        group = self._followers.get(_place(wanted), set())
        group.discard(follower)
        if not group:
            self._followers.pop(_place(wanted), None)

    def append(self, frames: Sequence[Frame]) -> list[Noticing]:
        """Take in what was read after `head`. Who is concerned has noticed when this returns, and is to be woken."""
        if not frames:
            return []
        if frames[-1].seq - self.head == len(frames):
            concerned = _places(frames)
            self._frames += frames
        else:  # trimmed under our feet: everyone looks for himself, in the database
            concerned = dict.fromkeys(self._followers, self.head + 1)
            self._frames = list(frames[-1:])
        self.head = frames[-1].seq
        del self._frames[: -self._keep]
        self.first = self.head - len(self._frames) + 1
        told: list[Noticing] = []
        for place, seq in concerned.items():
            told += self._followers.get(place, ())
            for follower in self._followers.get(place, ()):
                follower.notice(seq)
        return told

    def since(self, seq: int) -> list[Frame]:
        """The next frames from number `seq` on, as many as one write should carry.

        Raises:
            Behind: they are no longer kept here.
        """
        if seq < self.first:
            raise Behind
        return self._frames[seq - self.first : seq - self.first + FRAMES_AT_ONCE]

    def joined_since(self, seq: int) -> tuple[bytes, int]:
        """The same in one piece, and the last one's number. Kept for the next follower, who mostly stands at the same
        place."""
        start, last, piece = self._joined
        if start != seq:
            frames = self.since(seq)
            last, piece = frames[-1].seq, b"".join(frame.text for frame in frames)
            self._joined = (seq, last, piece)
        return piece, last


def _place(wanted: Filter) -> str:
    return wanted.job or wanted.run or ""


def _places(frames: Sequence[Frame]) -> dict[str, int]:
    """Where followers stand whom these frames concern, with the first frame that does."""
    found = {"": frames[0].seq}
    for frame in frames:
        for name in (frame.job, frame.run):
            if name:
                found.setdefault(name, frame.seq)
    return found
