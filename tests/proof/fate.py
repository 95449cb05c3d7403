"""What goes wrong in a simulated history, and how often. Each seed has a weather of its own: most faults are rare in
most of them, and a few come thick and fast, since it is in company that faults do harm.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Odds:
    """How likely each fault is, each time it could happen."""

    # fal
    refused: float = 0.1
    failed: float = 0.1
    garbled: float = 0.02
    slow: float = 0.1
    answer_lost: float = 0.08
    request_lost: float = 0.05
    turned_away: float = 0.08
    unsent: float = 0.05
    rejected: float = 0.04
    webhook_lost: float = 0.15
    webhook_late: float = 0.1
    webhook_twice: float = 0.1
    webhook_forged: float = 0.05
    webhook_of_a_stranger: float = 0.05
    webhook_stale: float = 0.05
    webhook_cut: float = 0.05
    payload_null: float = 0.05
    status_unclear: float = 0.1
    result_lost: float = 0.1
    result_broken: float = 0.05
    list_away: float = 0.1
    list_late: float = 0.2
    file_broken: float = 0.1
    file_too_large: float = 0.03
    keys_away: float = 0.05
    # storage
    put_refused: float = 0.1
    put_unanswered: float = 0.05
    put_slow: float = 0.05
    blob_missing: float = 0.1
    # the database
    locked: float = 0.003
    commit_failed: float = 0.003
    # the machine
    death: float = 0.001
    # once in a history
    fal_away: float = 0.05
    storage_away: float = 0.1
    clock_set: float = 0.1
    clock_skewed: float = 0.1
    list_withheld: float = 0.1
    laptop: float = 0.1
    # in a share of the seeds, whatever the weather
    swamped: float = 0.0

    @classmethod
    def drawn(cls, dice: random.Random) -> Self:
        return cls(**{name: min(usual * _weather(dice), 0.6) for name, usual in asdict(cls()).items() if usual})

    @classmethod
    def none(cls) -> Self:
        return cls(**dict.fromkeys(FAULTS, 0.0))


FAULTS = tuple(field.name for field in fields(Odds))


def _weather(dice: random.Random) -> float:
    return dice.choices((0.0, 1.0, 5.0), (5, 4, 1))[0]


class Fate:
    """Says when something goes wrong, and keeps count. From `relent` on nothing does."""

    def __init__(self, dice: random.Random, odds: Odds) -> None:
        self.dice = dice
        self.odds = odds
        self.fired: Counter[str] = Counter()

    def strikes(self, what: str) -> bool:
        if self.dice.random() >= getattr(self.odds, what):
            return False
        self.fired[what] += 1
        return True

    def relent(self) -> None:
        self.odds = Odds.none()
