"""Eight programs go for the same thing at the same moment, on both databases; one wins.

Usual time: 40 s.
"""

from __future__ import annotations

from pathlib import Path

from tests.proof.racing import prove_races
from tests.proof.scoreboard import Effort


def test_of_eight_rivals_one_wins_and_nothing_is_lost(tmp_path: Path) -> None:
    for score in prove_races(Effort(), tmp_path):
        print(score.line())
        assert score.violations == [], score.name
        assert score.counts["fewest rounds"] > 1, score.name
        assert score.counts["of them lost"] > 0, score.name
