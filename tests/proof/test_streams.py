"""Whoever follows hears each event once, wherever the line is cut. Usual time: 20 s."""

from __future__ import annotations

from pathlib import Path

from tests.proof.scoreboard import Effort
from tests.proof.streams import prove_streams


def test_each_event_is_heard_once_wherever_the_line_is_cut(tmp_path: Path) -> None:
    for score in prove_streams(Effort(), tmp_path):
        print(score.line())
        assert not score.violations
