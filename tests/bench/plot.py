"""How far each row is from its goal, as a bar chart in SVG: to the right of the line is met. Logarithmic, since a goal
missed by half is as far away as one exceeded by double."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from tests.bench.table import Row

_LABEL, _HALF, _STEP, _HEAD = 330, 300, 22, 40
_FURTHEST = 10.0
"""Times better or worse than the goal: what is further away is drawn as far as this."""


def drawn(rows: Sequence[Row]) -> str:
    """The picture of those rows that have a goal."""
    with_goals = [row for row in rows if row.goal and row.ratio]
    width, height = _LABEL + 2 * _HALF + 90, _HEAD + _STEP * len(with_goals) + 10
    size = f'width="{width}" height="{height}"'
    bars = (line for number, row in enumerate(with_goals) for line in _bar(row, _HEAD + _STEP * number))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *_scale(height),
            *bars,
            "</svg>",
        ]
    )


def _scale(height: int) -> Iterator[str]:
    for times in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0):
        x, colour = _x(times), "#222" if times == 1.0 else "#ddd"
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="24" y2="{height - 6}" stroke="{colour}"/>'
        words = "goal" if times == 1.0 else f"{times:g}x"
        yield f'<text x="{x:.0f}" y="16" text-anchor="middle">{words}</text>'


def _bar(row: Row, top: int) -> Iterator[str]:
    assert row.goal
    assert row.ratio
    better = row.ratio / row.goal.bound if row.goal.above else row.goal.bound / row.ratio
    left, right = sorted((_x(1.0), _x(better)))
    colour = "#3a7d44" if better >= 1 else "#b3452c"
    name = escape(f"{row.metric}, {row.against}"[:52])
    yield f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{name}</text>'
    yield f'<rect x="{left:.0f}" y="{top + 3}" width="{right - left + 1:.0f}" height="{_STEP - 7}" fill="{colour}"/>'
    yield f'<text x="{right + 6:.0f}" y="{top + 14}">{row.ratio:.3g} ({escape(str(row.goal))})</text>'


def _x(times: float) -> float:
    bounded = min(max(times, 1 / _FURTHEST), _FURTHEST)
    return _LABEL + _HALF * (1 + math.log(bounded) / math.log(_FURTHEST))
