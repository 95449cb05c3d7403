"""A minute of the whole path at a steady pace, on both databases. Usual time: 75 s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.proof.scoreboard import Effort
from tests.proof.soak import Line, Look, judged, prove_soak

Grows = Callable[[float], dict[str, float]]


def test_a_service_that_works_steadily_does_not_grow(tmp_path: Path) -> None:
    for score in prove_soak(Effort(), tmp_path):
        print(score.line())
        assert not score.violations


def seen(grows: Grows) -> Sequence[Look]:
    """Ten minutes of looks at a service that is restless but does not grow, but for what `grows`."""
    dice = Random(7)
    still = {"memory": 130_000.0, "descriptors": 140.0, "threads": 19.0, "in_hand": 5.0, "log": 16_000.0}
    restless = {"memory": 3_000.0, "descriptors": 20.0, "threads": 1.0, "in_hand": 5.0, "log": 100.0}
    looks = []
    for second in range(600):
        more = grows(second)
        now = {what: level + dice.random() * restless[what] + more.get(what, 0.0) for what, level in still.items()}
        looks.append(Look(float(second), **now))
    return looks


@pytest.mark.parametrize(
    ("grows", "told"),
    [
        (lambda _: {}, ""),
        (lambda second: {"memory": second * 5 * 8.0}, "each job leaves 8.0 KB"),
        (lambda second: {"descriptors": second / 10}, "descriptors grew by"),
        (lambda second: {"threads": second / 60}, "threads grew by"),
        (lambda second: {"in_hand": second / 10}, "in_hand grew by"),
        (lambda second: {"log": second * 100}, "the database's log grew"),
    ],
)
def test_growth_is_told_from_restlessness(grows: Grows, told: str) -> None:
    found = list(judged(seen(grows), 4.0))
    assert [told in words for words in found] == ([True] if told else [])


def test_a_line_goes_through_the_middle() -> None:
    straight = Line.through([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0])
    assert (straight.slope, round(straight.margin, 9)) == (2.0, 0.0)
    assert Line.through([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0]).margin > 0.2
