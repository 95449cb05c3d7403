"""Proof by the model (T4): thousands of histories that hypothesis thinks of. Those of a seed are tried again, and the
first one that goes wrong is made as short as it can be, by

    python -m tests.proof.modelling SEED
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.proof.model import Model
from tests.proof.scoreboard import Effort, Score
from tests.running import ROOT

_STEPS = 50
_EXAMPLES = 20
"""Of each seed."""
_PROGRAMS = 2


def prove_model(effort: Effort, _folder: Path) -> Iterator[Score]:
    """The full run is shared between two programs."""
    first = effort.seed * 1_000_000
    found = _in_other_programs(300_000 // _PROGRAMS, first) if effort.full else [tried(2_000, first)]
    taken = sum((Counter(steps) for steps, _ in found), Counter[str]())
    counts = {"steps": taken.total(), "kinds of steps": len(taken), "rarest": min(taken.values(), default=0)}
    yield Score("T4", "model", counts, [wrong for _, wrong in found if wrong])


def tried(steps: int, first: int) -> tuple[Counter[str], str]:
    """Seed after seed until so many steps are taken: how often each was, and the history that went wrong, if one
    did."""
    Model.taken.clear()
    for number in range(first, sys.maxsize):
        if wrong := _wrong(number, (Phase.generate,)):
            return Counter(Model.taken), f"made short by: python -m tests.proof.modelling {number}\n{wrong}"
        if Model.taken.total() >= steps:
            break
    return Counter(Model.taken), ""


def _wrong(number: int, phases: Sequence[Phase]) -> str:
    asked = settings(
        max_examples=_EXAMPLES,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        derandomize=False,  # as in CI it would be, and every seed the same
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    try:
        run_state_machine_as_test(seed(number)(Model), settings=asked)
    except Exception as error:  # noqa: BLE001  # whatever it was, the history is in its notes
        return "".join(traceback.format_exception(error))[-6_000:]
    return ""


def _in_other_programs(steps: int, first: int) -> list[tuple[Any, str]]:
    command = [sys.executable, "-m", "tests.proof.modelling", "--steps", str(steps)]
    running = [
        subprocess.Popen([*command, str(first + n * 500_000)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for n in range(_PROGRAMS)
    ]
    said = [program.communicate()[0] for program in running]
    return [json.loads(each.splitlines()[-1]) for each in said]


def main(arguments: Sequence[str]) -> int:
    if arguments[0] == "--steps":
        print(json.dumps(tried(int(arguments[1]), int(arguments[2]))))
        return 0
    print(wrong := _wrong(int(arguments[0]), (Phase.generate, Phase.shrink)))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
