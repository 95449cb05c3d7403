from pathlib import Path

from tests.proof.outages import prove_outages
from tests.proof.scoreboard import Effort


def test_what_we_depend_on_may_go_away_and_come_back(tmp_path: Path) -> None:
    for score in prove_outages(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
