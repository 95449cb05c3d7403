"""Thousands of histories of the whole service, each from a seed (T3). One is lived again, and told line by line, by

    python -m tests.proof.simulation SEED

With more seeds than one, each history's outcome is a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.jobs.lifecycle import JOB, RUN
from tests.proof.fate import FAULTS
from tests.proof.scoreboard import Effort, Score
from tests.proof.simulated_store import memory_folder
from tests.proof.world import History, live
from tests.running import ROOT

ONCE_FAILED: tuple[int, ...] = (44, 99)
"""Seeds that have shown a fault of ours (a picture was given up because the database failed once, after its download
had been put off often). They are lived every time."""
EDGES = frozenset(
    f"{lifecycle.subject}: {source} -> {edge.target}"
    for lifecycle in (JOB, RUN)
    for edge in lifecycle.edges
    for source in edge.sources
)
_PROCESSES = 2
_LIVED_TWICE = 5
_TOLD = 20


@dataclass(frozen=True)
class Outcome:
    """What is left of a history when it is over."""

    seed: int
    trace: str
    wrong: Sequence[str]
    ends: Mapping[str, int]
    fired: Mapping[str, int]
    edges: Mapping[str, int]

    def line(self) -> str:
        return json.dumps(vars(self))


def prove_simulation(effort: Effort, folder: Path) -> Iterator[Score]:
    """Every history ends as it should; together they have lived through every fault and taken every edge; and a seed is
    lived the same way by a program in which nothing has the same address or the same hash."""
    first = effort.seed * 1_000_000
    seeds = list(dict.fromkeys([*ONCE_FAILED, *range(first, first + effort.of(200, 10_000))]))
    lived = list(_in_other_programs(seeds, _PROCESSES)) if effort.full else [outcome(seed, folder) for seed in seeds]
    again = seeds[:: max(len(seeds) // effort.of(_LIVED_TWICE, 100), 1)]
    traces = {each.seed: each.trace for each in lived}
    unlike = [each.seed for each in _in_other_programs(again, 1) if each.trace != traces[each.seed]]
    fired, edges, ends = (_sum(getattr(each, what) for each in lived) for what in ("fired", "edges", "ends"))
    wrong = [f"seed {each.seed}: {what}; {_replay(each.seed)}" for each in lived for what in each.wrong]
    yield Score(
        "T3",
        "simulation",
        {
            "seeds": len(lived),
            "jobs": sum(ends.values()),
            "faults": sum(fired.values()),
            "deaths": fired["death"],
            "rarest fault": min(fired[fault] for fault in FAULTS),
            "edges": len(EDGES & edges.keys()),
            "rarest edge": min(edges[edge] for edge in EDGES),
            "lived twice": len(again),
        },
        [
            *wrong[:_TOLD],
            *(f"seed {seed}: lived differently by another program; {_replay(seed)}" for seed in unlike),
            *(f"never happened: {fault}" for fault in FAULTS if not fired[fault]),
            *(f"never taken: {edge}" for edge in sorted(EDGES - edges.keys())),
            *(f"no such edge: {edge}" for edge in sorted(edges.keys() - EDGES)),
        ],
    )


def outcome(seed: int, folder: Path) -> Outcome:
    """One history, in a folder of its own that is gone afterwards. A proof that breaks down is a violation too."""
    place = folder / f"seed-{seed}"
    try:
        history = live(seed, place)
    except Exception as error:  # noqa: BLE001  # the other seeds are still to be lived
        return Outcome(seed, "", [f"broke down: {error!r}"], {}, {}, {})
    finally:
        shutil.rmtree(place, ignore_errors=True)
    end = history.judgement
    return Outcome(seed, end.trace, history.wrong, end.ends, history.fired, end.edges)


def _in_other_programs(seeds: Sequence[int], programs: int) -> Iterator[Outcome]:
    """Lived at the same time by so many programs, each with hashes of its own."""
    shares = [list(map(str, seeds[n::programs])) for n in range(programs)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.proof.simulation", "--lines", *share],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(n + 1)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n, share in enumerate(shares)
        if share
    ]
    for program in running:
        assert program.stdout
        with program:
            yield from (Outcome(**json.loads(line)) for line in program.stdout.read().splitlines())
        assert program.returncode == 0, f"a program with a share of the seeds ended with {program.returncode}"


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _replay(seed: int) -> str:
    return f"live it again: python -m tests.proof.simulation {seed}"


def _tell(history: History) -> None:
    print("\n".join(sorted(history.judgement.told)))
    print(f"\nfaults: {dict(history.fired)}\nends: {dict(history.judgement.ends)}\nwrong: {history.wrong}")


def main(arguments: Sequence[str]) -> int:
    seeds = [int(each) for each in arguments if each != "--lines"]
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory_folder()) as folder:
        if len(seeds) == 1 and "--lines" not in arguments:
            _tell(history := live(seeds[0], Path(folder) / "one"))
            return int(bool(history.wrong))
        for seed in seeds:
            print(outcome(seed, Path(folder)).line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
