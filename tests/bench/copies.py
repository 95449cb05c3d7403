"""Many finished jobs out of a few: every row that belongs to them so many times over, with ids of its own."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

TABLES = ("jobs", "attempts", "deliveries", "assets", "tasks", "transfers", "entries", "events")
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(r"([a-z]+_[0-9a-hjkmnp-tv-z]{23}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{9})[0-9a-hjkmnp-tv-z]{3}")
"""One of ours, or one of fal's."""
_HOLE = "\0"

Cells = tuple[Any, ...]


def multiply(file: Path, times: int) -> None:
    """The last letters of each id are another copy's; numbers of events go on where the copy before ended. The ledger
    grows too, and the balances do not know of it."""
    with closing(sqlite3.connect(file)) as database, database:
        kept = {row[0] for table in ("workspaces", "keys") for row in database.execute(f"SELECT id FROM {table}")}
        [(span,)] = database.execute("SELECT max(seq) FROM events")
        for table in TABLES:
            done = " WHERE state = 'done'" if table == "tasks" else ""
            found = database.execute(f"SELECT * FROM {table}{done}")
            names = [column[0] for column in found.description]
            seq = names.index("seq") if "seq" in names else None
            moulds = [tuple(_mould(cell, kept) for cell in row) for row in found]
            marks = ", ".join("?" * len(names))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", _cast(moulds, times, seq, span))
        database.execute("UPDATE counters SET seq = seq * ? WHERE seq = ?", (times, span))


def _mould(cell: Any, kept: set[str]) -> Any:
    """The cell with a hole where each id ends."""
    if not isinstance(cell, str):
        return cell
    return _ID.sub(lambda found: found[0] if found[0] in kept else found[1] + _HOLE, cell)


def _cast(moulds: list[Cells], times: int, seq: int | None, span: int) -> Iterator[Cells]:
    for number, letters in zip(range(1, times), product("u", LETTERS, LETTERS), strict=False):  # no id of ours has a u
        ending = "".join(letters)
        for mould in moulds:
            cells: list[Any] = [cell.replace(_HOLE, ending) if isinstance(cell, str) else cell for cell in mould]
            if seq is not None:
                cells[seq] += number * span
            yield tuple(cells)
