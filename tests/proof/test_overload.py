"""More than it can do, and people who only hold its sockets. Usual time: 25 s."""

from __future__ import annotations

from pathlib import Path

from tests.proof.overload import prove_overload
from tests.proof.scoreboard import Effort


def test_who_holds_sockets_is_sent_away_and_too_much_is_answered(tmp_path: Path) -> None:
    for score in prove_overload(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
