"""`python -m app.sandbox`: see `--help`."""

import argparse
import sys
from pathlib import Path

from app.sandbox import program
from app.sandbox.box import Options
from app.sandbox.fal import chaos, spells


def main(prog: str = "python -m app.sandbox") -> int:
    """`prog` is what a person typed to get here."""
    table = "\n".join(f"  {name:<18} {meaning}" for name, meaning in chaos.MEANINGS.items())
    words = "\n".join(f"  {f'[[{name}]]':<18} {meaning}" for name, meaning in spells.MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        description="fal.ai and Claude in a box: a local server that behaves like them and draws its own pictures.",
        epilog=f"chaos by name:\n{table}\n\nwords in a prompt that ask for an outcome:\n{words}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, default=9000, help="port to listen on; 0 picks a free one (default 9000)")
    add(
        "--chaos",
        default="",
        metavar="NAME[=ODDS],...",
        help="what goes wrong, and how often: duplicate,lost=0.3 or all=0.2",
    )
    add(
        "--speed",
        type=float,
        default=1.0,
        help="how much faster than fal time runs; signatures keep the real time (default 1, at most 1000)",
    )
    add("--seed", type=int, default=0, help="for run times, chaos, and seeds the caller leaves open (default 0)")
    add(
        "--data",
        type=Path,
        help="folder that keeps log, queue, files and keys over a restart (default: a temporary one)",
    )
    add("--runners", type=int, default=10, help="runs at the same time per account (default 10)")
    add("--list-delay", type=float, default=0.0, help="seconds until a request shows in the request list (default 0)")
    add("--with-parent", action="store_true", help="stop when the process that started this one is gone")
    given = parser.parse_args()
    try:
        chaos.parse(given.chaos)
    except ValueError as problem:
        parser.error(str(problem))
    if not 0 < given.speed <= 1000:
        parser.error("--speed is more than 0 and at most 1000; beyond that nothing keeps up")
    return program.run(Options(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
