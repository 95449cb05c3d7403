"""Do the tests bite? Two of the planted bugs a day; `python -m tests.proof --full` plants them all.

Usual time: 20 s.
"""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.proof.planted import Bug, Hunk, bugs, missed, prove_planted
from tests.proof.scoreboard import Effort
from tests.running import ROOT

LEAST = 25


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in bugs()])
def test_a_patch_still_applies_to_python_and_names_tests_that_are_there(bug: Bug, tmp_path: Path) -> None:
    assert bug.promise.endswith("."), "it says which promise it breaks"
    assert bug.hunks
    assert bug.tests
    for hunk in bug.hunks:
        (tmp_path / hunk.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hunk.file).write_text((ROOT / hunk.file).read_text())
    bug.plant(tmp_path)
    for hunk in bug.hunks:
        ast.parse((tmp_path / hunk.file).read_text())
    for test in bug.tests:
        file, _, name = test.partition("::")
        assert not name or f"def {name}(" in (ROOT / file).read_text(), test


def test_there_are_enough_of_them() -> None:
    assert len(bugs()) >= LEAST


def test_two_of_them_are_found(tmp_path: Path) -> None:
    for score in prove_planted(Effort(seed=datetime.now(UTC).toordinal()), tmp_path):
        print(score.line())
        assert not score.violations


def test_what_no_test_finds_and_what_does_not_apply_is_told(tmp_path: Path) -> None:
    harmless = Hunk("app/core/retries.py", "first_wait: float = 1.0", "first_wait: float = 1.00")
    gone = Hunk("app/core/retries.py", "nobody wrote this", "nor this")
    tests = ["tests/core/test_values.py"]
    assert "was not found (pytest ended with 0)" in str(missed(Bug("harmless", "None.", tests, [harmless]), tmp_path))
    assert "does not apply any more" in str(missed(Bug("gone", "None.", tests, [gone]), tmp_path))
