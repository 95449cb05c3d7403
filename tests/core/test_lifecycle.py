"""Lifecycles: every declared one, any run of moves through it, and tables that contradict themselves."""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.lifecycle import Edge, Lifecycle
from app.jobs.lifecycle import ENDINGS, JOB, RUN, RUN_ENDINGS, UNFINISHED
from app.wiring import FEATURES

DECLARED: list[Lifecycle[Any]] = [lifecycle for feature in FEATURES for lifecycle in feature.lifecycles]


class Door(StrEnum):
    SHUT = "shut"
    OPEN = "open"
    GONE = "gone"


def door(*edges: tuple[set[Door], Door, str]) -> Lifecycle[Door]:
    table = [Edge(frozenset(sources), target, event) for sources, target, event in edges]
    return Lifecycle("door", Door, (Door.SHUT, "door.made"), table)


OPENED = ({Door.SHUT}, Door.OPEN, "door.opened")
SHUT = ({Door.OPEN}, Door.SHUT, "door.shut")
RAZED = ({Door.SHUT, Door.OPEN}, Door.GONE, "door.razed")


def test_the_line_and_the_run_are_declared() -> None:
    assert {JOB, RUN} <= set(DECLARED)


@given(st.data())
def test_any_walk_along_the_table_ends_where_the_table_says(data: st.DataObject) -> None:
    lifecycle = data.draw(st.sampled_from(DECLARED))
    state = lifecycle.initial
    for _ in range(12):
        target = data.draw(st.sampled_from(sorted(lifecycle.states)))
        leading = [e for e in lifecycle.edges if e.target == target and state in lifecycle.sources(target, e.event)]
        if target in lifecycle.moves(state):
            assert len(leading) == 1
            state = target
        else:
            assert leading == []
            refusal = lifecycle.refusal(state, target)
            assert refusal.extra["moves"] == [str(s) for s in lifecycle.moves(state)]
            assert refusal.status == 409
        assert (state in lifecycle.final) == (lifecycle.moves(state) == ())


@pytest.mark.parametrize("lifecycle", DECLARED, ids=lambda each: each.subject)
def test_everything_that_is_not_final_can_still_end(lifecycle: Lifecycle[Any]) -> None:
    for state in lifecycle.states:
        assert state in lifecycle.final or lifecycle.final & set(_reachable(lifecycle, state))


def _reachable(lifecycle: Lifecycle[Any], state: Any) -> set[Any]:
    reached = {state}
    while new := {target for each in reached for target in lifecycle.moves(each)} - reached:
        reached |= new
    return reached


@pytest.mark.parametrize("lifecycle", DECLARED, ids=lambda each: each.subject)
def test_the_check_admits_the_states_and_no_other(lifecycle: Lifecycle[Any]) -> None:
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE things (status TEXT CHECK ({lifecycle.check('status')}))")
    for state in lifecycle.states:
        db.execute("INSERT INTO things VALUES (?)", (str(state),))
    for other in ("", "Queued", "gone'", *(str(s).upper() for s in lifecycle.states)):
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO things VALUES (?)", (other,))
    db.close()


def test_jobs_end_three_ways_and_only_once() -> None:
    assert {str(state) for state in JOB.final} == {"completed", "failed", "cancelled"}
    assert {e.event for e in JOB.edges if e.target in JOB.final} == ENDINGS
    assert set(UNFINISHED) == set(JOB.states) - JOB.final
    assert {e.event for e in RUN.edges if e.target in RUN.final} | {"run.completed"} == RUN_ENDINGS


def test_a_refusal_says_what_is_possible() -> None:
    life = door(OPENED, SHUT, RAZED)

    assert life.refusal(Door.OPEN, Door.OPEN).detail == (
        "This door is open and cannot become open. From open it can become: shut, gone."
    )
    assert life.refusal(Door.GONE, Door.OPEN).detail == "This door is gone and cannot become open. gone is final."


def test_the_diagram_draws_every_edge() -> None:
    assert door(OPENED, RAZED).diagram().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> shut: door.made",
        "    shut --> open: door.opened",
        "    shut --> gone: door.razed",
        "    open --> gone: door.razed",
        "    gone --> [*]",
    ]


def test_two_edges_between_the_same_states_are_refused() -> None:
    with pytest.raises(ValueError, match="door: two edges from shut to open"):
        door(OPENED, RAZED, ({Door.SHUT}, Door.OPEN, "door.forced"))


def test_a_state_that_nothing_leads_to_is_refused() -> None:
    with pytest.raises(ValueError, match="door: no way leads to gone"):
        door(OPENED, SHUT)


def test_states_that_lead_only_to_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="door: no way leads to gone, open"):
        door(({Door.OPEN}, Door.GONE, "door.razed"), ({Door.GONE}, Door.OPEN, "door.rebuilt"))


def test_a_move_nobody_declared_has_no_sources() -> None:
    with pytest.raises(ValueError, match="no edge to open"):
        door(OPENED, RAZED).sources(Door.OPEN, "door.razed")
