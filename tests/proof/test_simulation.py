"""Hours in the life of the service, in milliseconds and from seeds: the same code, a fal, a bucket, a database and a
clock that do their worst, a program that dies, and time that jumps. What goes wrong once can be lived again.

Usual time: 90 s.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs import accept, attempts
from tests.proof.fate import Odds
from tests.proof.scoreboard import Effort
from tests.proof.simulation import prove_simulation
from tests.proof.world import DAY, live


def test_two_hundred_histories_end_as_they_should(tmp_path: Path) -> None:
    [score] = prove_simulation(Effort(), tmp_path)
    print(score.line())
    assert score.violations == []
    assert score.counts["jobs"] > 1_000
    assert score.counts["deaths"] > 50


def test_every_day_ends_as_it_should(tmp_path: Path) -> None:
    """Fuller ones, and few: for whoever wants to know it soon."""
    days = [live(seed, tmp_path / f"{seed}", people=20) for seed in range(3)]
    assert [day.wrong for day in days] == [[], [], []]
    assert len({day.judgement.trace for day in days}) == 3


def test_a_whole_day_is_lived_the_same_way_twice(tmp_path: Path) -> None:
    """Round the clock, with every fault and death that the seed draws."""
    once, twice = (live(0, tmp_path / which, people=40, least=DAY) for which in ("once", "twice"))
    assert once == twice
    assert once.wrong == []
    assert once.lasted >= DAY
    assert once.judgement.ends.total() >= 50


def test_without_faults_every_picture_comes(tmp_path: Path) -> None:
    good = live(1, tmp_path / "good", people=20, odds=Odds.none())
    looked = good.judgement.verdict.looked
    assert good.wrong == []
    assert good.fired == Counter()
    assert good.judgement.ends.keys() <= {"completed", "cancelled"}
    assert looked["posts"] <= looked["jobs"]


async def _no_grace(*_: Any) -> timedelta:
    return timedelta(0)


async def _nothing_recalled(*_: Any) -> None: ...


mirror_stage = sys.modules["app.jobs.mirror"]  # its name in the package is that of its function
PLANTED: Any = {
    "paid twice": ((attempts, "grace", _no_grace), {"answer_lost": 0.6, "list_late": 0.6}),
    "lost without a row": ((mirror_stage, "insert_asset", lambda *_: None), {}),
    "asked twice, made twice": ((accept, "recalled", _nothing_recalled), {}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module, name, instead), odds = PLANTED[fault]
    monkeypatch.setattr(module, name, instead)
    if fault == "asked twice, made twice":
        monkeypatch.setattr(module, "once", lambda *_: None)
    histories = (live(seed, tmp_path / f"{seed}", odds=replace(Odds.none(), **odds)) for seed in range(40))
    assert any(history.wrong for history in histories)
