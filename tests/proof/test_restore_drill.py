from pathlib import Path

from tests.proof.restore_drill import prove_restore_drill
from tests.proof.scoreboard import Effort


def test_a_backup_comes_back_whole_and_goes_on(tmp_path: Path) -> None:
    for score in prove_restore_drill(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
