from pathlib import Path

import pytest

from tests.proof.disk import prove_disk
from tests.proof.scoreboard import Effort


def test_a_disk_that_cannot_be_written_is_waited_out(tmp_path: Path) -> None:
    for score in prove_disk(Effort(), tmp_path):
        print(score.line())
        if score.refused:
            pytest.skip(score.refused)
        assert not score.violations
