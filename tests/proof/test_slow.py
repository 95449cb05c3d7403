"""Readers who read nothing, and readers who all come back at once. Usual time: 35 s."""

from __future__ import annotations

from pathlib import Path

from tests.proof.scoreboard import Effort
from tests.proof.slow import prove_slow


def test_who_reads_nothing_is_cut_and_who_comes_back_misses_nothing(tmp_path: Path) -> None:
    for score in prove_slow(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
