"""The catalogue of problems: what a caller can be told."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from app.core.errors import FieldError, NotFound, Problem, pointer
from app.wiring import PROBLEMS


def test_every_problem_has_a_word_of_its_own() -> None:
    twice = [slug for slug, n in Counter(kind.slug for kind in PROBLEMS).items() if n > 1]
    assert twice == []
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug) for kind in PROBLEMS)


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.__name__)
def test_a_problem_reads_as_a_sentence_and_as_a_document(kind: type[Problem]) -> None:
    title = kind.title()
    assert 10 <= len(title) <= 80
    assert title[0].isupper()
    assert not title.endswith(".")
    assert title != kind.__name__

    document = kind("It did not work.", errors=[FieldError("/body/x", "Wrong.", "wrong")]).document("req_1")
    assert list(document) == [
        "type", "title", "status", "detail", "code", "retryable", "request_id", "errors",
    ]  # fmt: skip
    assert document["type"] == f"/docs/errors#{kind.slug}"
    assert document["errors"] == [{"pointer": "/body/x", "detail": "Wrong.", "code": "wrong"}]


def test_every_problem_has_a_way_out() -> None:
    assert [kind.__name__ for kind in PROBLEMS if kind is not Problem and kind.way_out == Problem.way_out] == []


def test_what_is_worth_trying_again_is_no_fault_of_the_request() -> None:
    for kind in PROBLEMS:
        if kind.retryable:
            assert kind.status in {408, 409, 429, 503, 507}, kind
        assert 400 <= kind.status <= 599
    assert not NotFound.retryable


def test_a_problem_without_words_says_its_title() -> None:
    assert str(NotFound()) == NotFound().detail == "No such thing here"
    assert NotFound(needed=3).document()["needed"] == 3


def test_a_pointer_survives_any_name() -> None:
    assert pointer("/body", []) == "/body"
    assert pointer("/body", ["a/b", 0, "c~d", "~1"]) == "/body/a~1b/0/c~0d/~01"
    assert len(pointer("", ["x" * 10_000])) == 101
