"""The board on which every proof writes one line or more: how much was tried, what was counted, and what broke.

A proof is a function of the effort and a folder of its own. The tests in this folder call it with the quick effort,
`python -m tests.proof` with either; both look at the same scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Effort:
    """How much is tried. The same `seed` tries the same things again, as far as the machine's own timing lets it."""

    full: bool = False
    seed: int = 0

    def of(self, quick: int, full: int) -> int:
        return full if self.full else quick


@dataclass(frozen=True)
class Score:
    """`test` is the number in the test plan, `counts` what was counted (kills, seeds, cases, faults fired),
    `violations` a sentence for each promise broken, `refused` why this machine did not let it run."""

    test: str
    name: str
    counts: Mapping[str, float] = field(default_factory=dict)
    violations: Sequence[str] = ()
    refused: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        if self.refused:
            return "refused"
        return f"{len(self.violations)} VIOLATIONS" if self.violations else "holds"

    def line(self) -> str:
        return json.dumps(asdict(replace(self, counts=dict(self.counts))))  # `asdict` turns a Counter inside out


Proof = Callable[[Effort, Path], Iterator[Score]]


def render(scores: Sequence[Score]) -> str:
    """The board for people."""
    cells = [("test", "what", "verdict", "seconds", "counted"), *(_cells(score) for score in scores)]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    rows = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]).rstrip() for row in cells]
    broken = sum(len(score.violations) for score in scores)
    return "\n".join([*rows, "", f"violations: {broken}"])


def _cells(score: Score) -> tuple[str, str, str, str, str]:
    counted = ", ".join(f"{name} {count:,.10g}" for name, count in score.counts.items())
    return score.test, score.name, score.verdict, f"{score.seconds:.0f}", score.refused or counted
