from pathlib import Path

from tests.proof.scoreboard import Effort
from tests.proof.upgrade import prove_upgrade


def test_stopping_and_upgrading_lose_nothing(tmp_path: Path) -> None:
    for score in prove_upgrade(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
