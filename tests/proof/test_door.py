"""The webhook door, shut to whatever is not genuine. Usual time: 30 s."""

from __future__ import annotations

from pathlib import Path

from tests.proof.door import prove_door
from tests.proof.scoreboard import Effort


def test_the_door_takes_in_what_is_genuine_and_nothing_else(tmp_path: Path) -> None:
    for score in prove_door(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
