"""All that is promised, tried at length. `python -m tests.proof --quick|--full`

Prints a line for each proof as it ends and the whole board at the end; the exit code is 1 when a promise broke. The
full run takes up to two hours on two cores. Run it from the root of the repository.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tests.proof.chaos import prove_chaos
from tests.proof.clocks import prove_clocks
from tests.proof.disk import prove_disk
from tests.proof.door import prove_door
from tests.proof.flooded import prove_flooded
from tests.proof.kills import prove_kills
from tests.proof.many import prove_many
from tests.proof.modelling import prove_model
from tests.proof.outages import prove_outages
from tests.proof.overload import prove_overload
from tests.proof.planted import prove_planted
from tests.proof.postgres_chaos import prove_postgres_chaos
from tests.proof.racing import prove_races
from tests.proof.restore_drill import prove_restore_drill
from tests.proof.scoreboard import Effort, Proof, Score, render
from tests.proof.simulation import prove_simulation
from tests.proof.slow import prove_slow
from tests.proof.soak import prove_soak
from tests.proof.streams import prove_streams
from tests.proof.sweep import prove_sweep
from tests.proof.synced import prove_synced
from tests.proof.upgrade import prove_upgrade

PROOFS: Mapping[str, Proof] = {
    "simulation": prove_simulation,
    "model": prove_model,
    "races": prove_races,
    "planted": prove_planted,
    "sweep": prove_sweep,
    "kills": prove_kills,
    "many": prove_many,
    "chaos": prove_chaos,
    "postgres_chaos": prove_postgres_chaos,
    "outages": prove_outages,
    "disk": prove_disk,
    "clocks": prove_clocks,
    "synced": prove_synced,
    "door": prove_door,
    "flooded": prove_flooded,
    "streams": prove_streams,
    "slow": prove_slow,
    "overload": prove_overload,
    "soak": prove_soak,
    "upgrade": prove_upgrade,
    "restore_drill": prove_restore_drill,
}
"""In the order in which they are run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="a first look")
    size.add_argument("--full", action="store_true", help="everything, up to two hours")
    parser.add_argument("--only", default=",".join(PROOFS), help="some of: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="where chance begins (%(default)s)")
    parser.add_argument("--json", type=Path, help="append the lines to this file too")
    given = parser.parse_args()
    scores: list[Score] = []
    for name in filter(None, given.only.split(",")):
        for score in _proved(PROOFS[name], name, Effort(given.full, given.seed)):
            scores.append(score)
            print(render([score]).splitlines()[1], flush=True)
            for violation in score.violations:
                print(f"    {violation}", flush=True)
            if given.json:
                with given.json.open("a") as lines:
                    lines.write(score.line() + "\n")
    print(f"\n{render(scores)}")
    return int(any(score.violations for score in scores))


def _proved(proof: Proof, name: str, effort: Effort) -> Iterator[Score]:
    """A proof that breaks down has not shown that the promise holds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"proof-{name}-") as folder:
        try:
            for score in proof(effort, Path(folder)):
                now = time.monotonic()
                yield replace(score, seconds=now - began)
                began = now
        except Exception as error:  # noqa: BLE001  # whatever it was, the other proofs are still to be tried
            traceback.print_exc()
            yield Score("", name, violations=[f"the proof itself broke down: {error!r}"])


if __name__ == "__main__":
    sys.exit(main())
