"""How many streams may be open in this process: of one owner, and in all."""

from __future__ import annotations

from collections import Counter

from app.core.errors import Draining, TooManyRequests
from app.rules import Rules

_OWN = "{} streams are open here already, the most there may be. Close some: one of /api/v1/events tells of every job."
_ALL = "This process has as many streams open as it can bear. Try again later; /api/v1/events can be read in pages too."


class Places:
    """`closed` once this process is about to end."""

    def __init__(self, rules: Rules) -> None:
        self.closed = False
        self._rules = rules
        self._taken: Counter[str] = Counter()

    def look_for(self, owner: str) -> None:
        """Raises TooManyRequests when there is none, and Draining when there will be none."""
        if self.closed:
            raise Draining
        if self._taken.get(owner, 0) >= self._rules.streams_per_workspace:
            raise TooManyRequests(_OWN.format(self._taken[owner]), headers={"Retry-After": "60"})
        if self._taken.total() >= self._rules.streams_open:
            raise TooManyRequests(_ALL, headers={"Retry-After": "10"})

    def take(self, owner: str) -> None:
        self._taken[owner] += 1

    def leave(self, owner: str) -> None:
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
