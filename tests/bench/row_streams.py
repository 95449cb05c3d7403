"""Fan-out, measured by `streams.py`, as rows of the table."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.machine import run
from tests.bench.table import FULL, Goal, Row, Size
from tests.running import ROOT

TWIN = "lost, twice and disordered: 0"
PEERS = {"sse-starlette": Goal(4.5), "nchan": Goal(1.0)}


def streams(size: Size, _folder: Path) -> Iterator[Row]:
    """A thousand readers of one workspace, and ten thousand when there is time."""
    if size.tiny:
        yield from _among(20, 1, 400)
        return
    for readers in (1000,) if size.rounds < FULL.rounds else (1000, 10_000):
        yield from _among(readers, size.rounds, size.of(60_000))


def _among(readers: int, rounds: int, deliveries: int) -> Iterator[Row]:
    options = ["--readers", str(readers), "--deliveries", str(deliveries), "--rounds", str(rounds)]
    said = run([sys.executable, "-m", "tests.bench.streams", *options], ROOT)
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    quick, steady = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    mine = quick[0]
    for peer, goal in PEERS.items():
        if any(row["variant"] == peer for row in rows):
            yield _row(f"streams, {readers:,}", "events/s", "events_s", quick, peer, goal)
            yield _row(f"streams, {readers:,}, p99 at 20k/s", "ms", "p99_ms", steady, peer, None)
        else:
            error = {"error": f"{peer} is not installed"}
            yield Row(f"streams, {readers:,}", "events/s", mine["events_s"], peer, twin="no peer", more=error)
    weight = mine["kb_per_reader"] * 1.024
    weights = {row["variant"]: round(row["kb_per_reader"] * 1.024, 2) for row in quick}
    yield Row(
        f"streams, {readers:,}, memory each",
        "kB",
        weight,
        "12 kB",
        12.0,
        weight / 12.0,
        goal=Goal(1.0, above=False),
        twin=TWIN,
        more=weights,
    )


def _row(metric: str, unit: str, figure: str, rows: list[dict[str, Any]], peer: str, goal: Goal | None) -> Row:
    mine, theirs = ({row["variant"]: row for row in rows}[name] for name in ("darkroom", peer))
    used, theirs_used = mine["server_us_per_event"], theirs["server_us_per_event"]
    return Row(
        metric,
        unit,
        mine[figure],
        peer,
        theirs[figure],
        mine[figure] / theirs[figure],
        theirs_used / used if used and figure == "events_s" else None,
        goal,
        max(mine["others_cores"], theirs["others_cores"]),
        TWIN,
        {"readers": mine["readers"]},
    )
