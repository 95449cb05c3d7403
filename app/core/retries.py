"""How often, and after how long, a generation is tried again (design: four retry domains, never mixed; this one is the
generation's, and the only one that may buy another picture)."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 64
"""Longer than any ceiling, and still a number."""


@dataclass(frozen=True)
class RetryPolicy:
    """`max_attempts` counts submissions fal accepted. The wait before attempt n+1 is 2^(n-1) times `first_wait`, at
    most `ceiling`, before it is spread."""

    max_attempts: int = 3
    first_wait: float = 1.0
    ceiling: float = 300.0

    def allows(self, attempts_made: int) -> bool:
        return attempts_made < self.max_attempts

    def wait(self, attempts_made: int, jitter: float) -> float:
        """Seconds to wait after `attempts_made` tries; `jitter` in [0, 1) spreads it from half to one and a half."""
        doubled = self.first_wait * 2.0 ** min(max(attempts_made - 1, 0), _MOST_DOUBLINGS)
        return min(doubled, self.ceiling) * (0.5 + jitter)
