from pathlib import Path

from tests.proof.clocks import prove_clocks
from tests.proof.scoreboard import Effort


def test_a_wrong_clock_does_no_harm(tmp_path: Path) -> None:
    for score in prove_clocks(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
        assert not score.refused
