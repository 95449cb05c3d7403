from pathlib import Path

from tests.proof.kills import prove_kills
from tests.proof.scoreboard import Effort


def test_whenever_it_is_killed_nothing_is_lost_and_nothing_done_twice(tmp_path: Path) -> None:
    for score in prove_kills(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
