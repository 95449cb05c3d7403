"""What this process has seen of the provider lately: whether it turns our key away, and whether its webhooks arrive.
Only hints are kept here, and each process may lose them: the database holds every fact.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Trouble:
    """A time during which something did not work, and the last thing that was said about it. `heard` is `until` by
    the clock that nobody can set."""

    since: datetime
    until: datetime
    heard: float
    detail: str


@dataclass
class Standing:
    """`rejections` counts gateway rejections in a row, `rejection` and `rejected_with` are what was said last;
    `pause_ends` is set while dispatch waits because of them, by the clock that nobody can set: the other one
    may be put back by an hour. `found_by_looking` counts completions in a row that no webhook told us of, of requests
    made since `up_since`. `keys` are fal's signing keys, the one that was right last time first; who wants newer ones
    waits at `keys_door` for whoever is asking already.
    `refusals` counts what the webhook door turned away since `refusals_since`, by verdict.
    `paces` holds how many seconds a model's runs took lately, and until when that is believed.
    `failures` counts failed looks in a row at what we depend on; `unwritable` is when the database, or the storage for
    want of room, could not be written, until that has been told. `unsent` counts submissions in a row that found no
    connection; without further ones that is believed until `unsent_until`, since there may be nothing left to send."""

    rejections: int = 0
    rejection: str = ""
    rejected_with: int = 0
    pause_ends: float | None = None
    found_by_looking: int = 0
    up_since: datetime | None = None
    keys: Sequence[bytes] = ()
    keys_at: datetime | None = None
    keys_asked_at: float | None = None
    keys_door: asyncio.Lock = field(default_factory=asyncio.Lock)
    user: str | None = None
    refusals: Counter[str] = field(default_factory=Counter)
    refusals_since: float = 0.0
    watched_until: dict[str, datetime] = field(default_factory=dict)
    paces: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    unwritable: dict[str, Trouble] = field(default_factory=dict)
    unsent: int = 0
    unsent_detail: str = ""
    unsent_until: datetime | None = None

    def paused_for(self, monotonic: float) -> float:
        """For how many more seconds nothing is sent."""
        return max(0.0, (self.pause_ends or 0.0) - monotonic)

    def unreachable(self, now: datetime, after: int) -> bool:
        return self.unsent >= after and self.unsent_until is not None and now < self.unsent_until

    def could_not_write(self, what: str, now: datetime, monotonic: float, detail: str) -> None:
        before = self.unwritable.get(what)
        self.unwritable[what] = Trouble(before.since if before else now, now, monotonic, detail)

    def watched(self, topic: str, now: datetime) -> bool:
        return self.watched_until.get(topic, now) > now

    def remember_watch(self, topic: str, until: datetime, now: datetime) -> None:
        """Keeps the memory of who watches small."""
        self.watched_until[topic] = until
        if len(self.watched_until) > 10_000:
            self.watched_until = {topic: until for topic, until in self.watched_until.items() if until > now}
