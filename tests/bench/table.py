"""A measured row, and all rows as one table."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

QUIET = 0.12
"""Cores that others may use without the row being called disturbed."""


@dataclass(frozen=True)
class Size:
    """How long to look. `tiny` only shows that a row still works: its figures mean nothing."""

    seconds: float
    rounds: int
    times: float
    """Multiplies counts of things."""
    tiny: bool = False

    def of(self, count: int) -> int:
        return max(int(count * self.times), 8)


FULL = Size(seconds=4.0, rounds=5, times=3.0)
QUICK = Size(seconds=1.2, rounds=2, times=1.0)
TINY = Size(seconds=0.2, rounds=1, times=0.02, tiny=True)


@dataclass(frozen=True)
class Goal:
    """From the performance page: a ratio, and whether to be above or below it."""

    bound: float
    above: bool = True

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.above else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.above else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """`ours` and `baseline` are in `unit`; `ratio` is what the goal speaks of; `cpu_ratio` is the baseline's CPU for
    one operation over ours, which a busy machine disturbs least. `twin` says what was counted to show that nothing was
    lost or done twice: without it the row would measure nothing. `why` says why a goal is missed, or a row is."""

    metric: str
    unit: str
    ours: float
    against: str = ""
    baseline: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    goal: Goal | None = None
    others: float = 0.0
    twin: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def met(self) -> str:
        if self.unit == MISSING:
            return "error"
        if self.goal is None or self.ratio is None:
            return "-"
        return ("yes" if self.goal.met(self.ratio) else "no") + ("" if self.others <= QUIET else "?")

    def line(self) -> str:
        goal = {"goal": str(self.goal) if self.goal else None, "met": self.met}
        return json.dumps({**asdict(self), **goal}, default=str)


MISSING = "(not measured)"


def missing(metric: str, why: str, against: str = "") -> Row:
    """What stands where a row could not be measured, so that the others still are."""
    return Row(metric, MISSING, 0.0, against, why=why)


HEAD = ("metric", "unit", "ours", "baseline", "ratio", "CPU ratio", "goal", "met", "against", "why")


def render(rows: Sequence[Row]) -> str:
    """The table for people."""
    cells = [HEAD, *(tuple(_cells(row)) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Row]) -> str:
    """The table for the docs."""
    cells = [HEAD, ("---",) * len(HEAD), *(tuple(_cells(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: Row) -> Iterator[str]:
    yield from (row.metric, row.unit, _number(row.ours), _number(row.baseline))
    yield from (_number(row.ratio), _number(row.cpu_ratio), str(row.goal or "-"), row.met)
    yield from (row.against, row.why if row.met != "yes" else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
