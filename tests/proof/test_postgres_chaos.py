from pathlib import Path

from tests.proof.postgres_chaos import prove_postgres_chaos
from tests.proof.scoreboard import Effort


def test_postgresql_in_trouble_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for score in prove_postgres_chaos(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
