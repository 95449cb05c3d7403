"""Each row of the benchmark at a tiny size, so that it cannot rot. Its figures mean nothing here; its twin, which
counts what was stored, holds at any size."""

import os
import shutil

import pytest

from tests.bench.__main__ import ROWS, measure
from tests.bench.table import MISSING, TINY, render

NEEDS = {"streams": "gcc", "storm": "gcc"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_measures_something(name: str) -> None:
    if name in NEEDS and not shutil.which(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed")

    if name == "postgres" and not os.environ.get("DARKROOM_TEST_DATABASE_URL"):
        pytest.skip("DARKROOM_TEST_DATABASE_URL names no PostgreSQL")

    rows = measure(name, TINY)

    assert rows
    assert all(row.ours > 0 and row.twin for row in rows if row.unit != MISSING)
    assert all(row.why for row in rows if row.unit == MISSING)
    assert all(row.metric in render(rows) for row in rows)
