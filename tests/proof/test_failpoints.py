"""The sweep: the service dies at both sides of every commit and of every call to the outside, comes back, heals, and
nothing is lost, bought twice or paid twice.

Usual time: 120 s, a death at each of about 95 points. The full proof (`python -m tests.proof`) dies at the first five
passings of each in every workload, and once at each on PostgreSQL.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof.places import NOT_REACHED, pairs, sample
from tests.proof.sweep import Ward, swept, ward
from tests.running import ROOT

APP = ROOT / "app"
PORTS = {"provider": "Provider", "blobs": "Blobs", "fetcher": "Fetcher", "bus": "Bus", "vision": "Vision"}
PAIRS = 6


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("sweep")) as opened:
        yield opened


@pytest.fixture(scope="module")
def passed(hospital: Ward) -> dict[str, Counter[str]]:
    return hospital.all_passed()


def test_every_write_and_every_call_to_the_outside_is_passed(passed: dict[str, Counter[str]]) -> None:
    seen = {point.rpartition(":")[0] for points in passed.values() for point in points}
    there = set(_writes()) | set(_calls())
    assert there - seen - NOT_REACHED.keys() == set()
    assert NOT_REACHED.keys() - there == set(), "named as not reached, but not there at all"


def test_it_heals_from_a_death_at_every_point(hospital: Ward, passed: dict[str, Counter[str]]) -> None:
    score = swept("every point", hospital, sample(passed))
    print(score.line())
    assert not score.violations


def test_it_heals_from_a_death_while_it_heals(hospital: Ward, passed: dict[str, Counter[str]]) -> None:
    score = swept("again in the recovery", hospital, pairs(passed, PAIRS, random.Random(0)))
    print(score.line())
    assert not score.violations
    assert score.counts["twice"]


def _writes() -> Iterator[str]:
    """What `name_of` calls each function that the code hands to a write."""
    for file, tree in _trees():
        handed = {"write": 0, "hint": 0, "_quietly": 0, "_settle": 0, "_legally": 3}
        inner = {f.name: [d.name for d in f.body if isinstance(d, ast.FunctionDef)] for f in _functions(tree)}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if called not in handed or (called == "_settle" and file.stem != "runner"):
                continue
            owner = ast.unparse(call.func).rpartition(".")[0]
            if called in ("write", "hint") and owner not in ("db", "services.db", "self._db"):
                continue
            for name in _named(call.args[handed[called]], inner):
                yield f"{file.stem}.{name}"


def _named(given: ast.expr, inner: dict[str, list[str]]) -> list[str]:
    match given:
        case (
            ast.Lambda(body=ast.Call(func=ast.Attribute(attr=name))) | ast.Lambda(body=ast.Call(func=ast.Name(id=name)))
        ):
            return [name]
        case ast.Call(func=ast.Name(id="partial"), args=[first, *_]):
            return _named(first, inner)
        case ast.Call(func=ast.Name(id=name)):  # a function that makes the write
            return inner[name]
        case ast.Name(id="work"):  # handed on; whoever hands it in is looked at
            return []
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return [name]
    raise AssertionError(f"a write in a form nobody has thought of: {ast.unparse(given)}")


def _calls() -> Iterator[str]:
    """Every method of a port that the service calls."""
    for file, tree in _trees():
        if file.parts[len(APP.parts)] in ("adapters", "sandbox"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
                holder = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                if isinstance(node.value, ast.Attribute) and holder in PORTS and node.attr != "provider_can_read":
                    yield f"{PORTS[holder]}.{node.attr}"


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(APP.rglob("*.py")):
        if "sandbox" not in file.parts and "migrations" not in file.parts:
            yield file, ast.parse(file.read_text())


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
