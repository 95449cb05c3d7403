"""Two webs and two workers on PostgreSQL, a bucket and Redis, with everything that can happen to them. About 60 s."""

from __future__ import annotations

import pytest

from tests.proof.many import prove_many
from tests.proof.scoreboard import Effort, Score


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Score]:
    return {score.name: score for score in prove_many(Effort(), tmp_path_factory.mktemp("many"))}


def test_nothing_was_broken(scores: dict[str, Score]) -> None:
    assert [violation for score in scores.values() for violation in score.violations] == []


def test_everything_was_tried(scores: dict[str, Score]) -> None:
    for score in scores.values():
        print(f"{score.name}: {dict(score.counts)}")
    assert len(scores) == 9
    assert scores["a killed worker's work is taken over"].counts["tasks taken over"] >= 1
    assert scores["a frozen worker's late writes are refused"].counts["late writes refused"] >= 1
    assert scores["a frozen worker's locks end"].counts["writes ended"] >= 1
    assert scores["afterwards, both sides agree"].counts["paid posts"] >= 90
