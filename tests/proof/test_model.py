"""The service and its oracle take the same steps, and are the same after each of them.

Usual time: 20 s.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from app.jobs import attempts
from tests.proof.modelling import prove_model, tried
from tests.proof.scoreboard import Effort


def test_two_thousand_steps_are_the_same_here_and_there(tmp_path: Path) -> None:
    [score] = prove_model(Effort(), tmp_path)
    print(score.line())
    assert not score.violations, score.violations[0]
    assert score.counts["steps"] >= 2_000
    assert score.counts["kinds of steps"] >= 25


def _nobody_is_counted(*_: Any) -> None: ...


PLANTED = {
    "more attempts than allowed": (attempts, "BOUGHT", ()),
    "a run that does not count": (sys.modules["app.jobs.endings"], "_count", _nobody_is_counted),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PLANTED[fault])
    _, wrong = tried(60_000, 0)
    assert "the model" in wrong
