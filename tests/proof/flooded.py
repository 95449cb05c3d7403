"""T7: a flood of forgeries at the webhook door leaves the good letters beside it quick: twice as slow at most, as the
slowest hundredth goes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from nacl.signing import SigningKey

from tests.bench.load import packed
from tests.proof.flood import QUIET
from tests.proof.letterbox import Letterbox, letterbox
from tests.proof.scoreboard import Effort, Score
from tests.running import ROOT

_GOOD, _FORGED = 200, 2_000
"""Letters a second."""
_SLOWER = 2.0
_MORE_TURNS = 20
"""That the machine may spoil."""


def prove_flooded(effort: Effort, folder: Path) -> Iterator[Score]:
    yield _flooded(effort.of(5, 60), folder / "flood")


def _flooded(turns: int, folder: Path) -> Score:
    """Of each second the slowest hundredth, and of those the one in the middle."""
    with letterbox(folder, 2 * _GOOD * (turns + _MORE_TURNS)) as box:
        seen = _turns(box, turns, folder)
    wrong = [
        f"good letters are answered {each['good']}" for pair in seen for each in pair if each["good"].keys() != {"200"}
    ]
    wrong += [
        f"forged ones are answered {turn['forged']}" for _, turn in seen if turn["forged"].keys() != {"401", "404"}
    ]
    quiet = [pair for pair in seen if all(turn["others"] < QUIET for turn in pair)]
    if len(quiet) < turns and not wrong:
        busy = median(turn["others"] for pair in seen for turn in pair)
        return Score("T7", "webhook door in a flood", refused=f"{busy:.1f} cores were busy with what is none of ours")
    alone, flooded = (median(_slow(turn["latencies"]) for turn in kind) for kind in zip(*quiet, strict=True))
    rate = median(sum(turn["forged"].values()) / turn["seconds"] for _, turn in quiet)
    if flooded / alone >= _SLOWER:
        wrong.append(f"p99 is {flooded * 1e3:.1f} ms in the flood, {alone * 1e3:.1f} ms without it")
    if rate < 0.9 * _FORGED:
        wrong.append(f"{rate:.0f} forged letters a second were answered of {_FORGED} that were due")
    counts = {"seconds of flood": len(quiet), "forged a second": round(rate), "p99 ratio": round(flooded / alone, 2)}
    return Score("T7", "webhook door in a flood", counts, wrong)


def _turns(box: Letterbox, turns: int, folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Seconds without and with the flood, in pairs."""
    assert box.service.process
    (folder / "good").write_bytes(packed([box.letter(attempt) for attempt in box.waiting]))
    (folder / "forged").write_bytes(packed(list(_forged(box))))
    given = [box.service.port, box.service.process.pid, folder, "--turns", turns, "--good", _GOOD, "--forged", _FORGED]
    command = [sys.executable, "-m", "tests.proof.flood", *map(str, given)]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def _forged(box: Letterbox) -> Iterator[bytes]:
    """By turns with a tag that is not ours, and, as somebody who knows an address would, not signed by fal."""
    stranger = replace(box, signer=SigningKey.generate())
    for attempt in box.waiting[:100]:
        yield box.letter(replace(attempt, path=attempt.path[:-6] + "000000"))
        yield stranger.letter(attempt)


def _slow(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) * 99 // 100]
