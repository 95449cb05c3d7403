"""Everything we promise to be quick at, beside its peers in the same minutes. `python -m tests.bench [--quick]`

Prints a JSON line for each row as it is measured, and one table at the end; draws how far each is from its goal. The
method is in README.md.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bench.plot import drawn
from tests.bench.row_http import http, postgres
from tests.bench.row_line import line
from tests.bench.row_news import news
from tests.bench.row_start import start
from tests.bench.row_storm import storm
from tests.bench.row_streams import streams
from tests.bench.row_submit import submit
from tests.bench.row_tasks import claims, growth
from tests.bench.row_thumbs import thumbs
from tests.bench.row_transfer import transfer
from tests.bench.table import FULL, QUICK, Row, Size, markdown, missing, render
from tests.running import ROOT

ROWS: Mapping[str, Callable[[Size, Path], Iterator[Row]]] = {
    "http": http,
    "postgres": postgres,
    "news": news,
    "line": line,
    "streams": streams,
    "storm": storm,
    "submit": submit,
    "transfer": transfer,
    "thumbs": thumbs,
    "tasks": claims,
    "growth": growth,
    "start": start,
}

log = logging.getLogger("bench")


def measure(name: str, size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return list(ROWS[name](size, Path(folder)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under three minutes, for a first look")
    parser.add_argument("--only", default=",".join(ROWS), help="some of: %(default)s")
    parser.add_argument("--json", type=Path, help="append the lines to this file too")
    parser.add_argument("--plot", type=Path, help="draw ratios over goals into this SVG file")
    parser.add_argument("--markdown", type=Path, help="write the table, dated, into this file too")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only.split(","):
        began = time.monotonic()
        for row in _whatever_comes(name, QUICK if given.quick else FULL):
            rows.append(row)
            print(row.line(), flush=True)
            if given.json:
                with given.json.open("a") as lines:
                    lines.write(row.line() + "\n")
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(render(rows))
    if given.plot:
        given.plot.write_text(drawn(rows))
    if given.markdown:
        given.markdown.write_text(f"{_stamp(quick=given.quick)}\n\n{markdown(rows)}\n")
    return 0


def _whatever_comes(name: str, size: Size) -> Iterator[Row]:
    """An error is a row too: the others are still worth measuring."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            yield from ROWS[name](size, Path(folder))
        except Exception as error:
            log.exception("%s could not be measured", name)
            yield missing(name, f"{type(error).__name__}: {str(error)[:200]}")


def _stamp(*, quick: bool) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    how = "--quick" if quick else "at full size"
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit.stdout.strip() or 'unknown'}, {how}."


if __name__ == "__main__":
    sys.exit(main())
