"""What `backup` and `restore` cannot say in a shell: a folder that is being written to, copied; a SQLite database that
is being written to, copied; a database's address, in libpq's variables.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

PARTS = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "options": "PGOPTIONS", "host": "PGHOST"}
"""Of an address's query, what libpq takes from its surroundings."""


def files(source: str, target: str) -> None:
    """Files are whole and never change, so what is there already is right; one that vanishes meanwhile was deleted."""
    to = Path(target)
    to.mkdir(parents=True, exist_ok=True)
    for folder, names, found in os.walk(source):
        names[:] = [name for name in names if not name.startswith(".")]
        place = to / Path(folder).relative_to(source)
        for name in found:
            copy = place / name
            if not copy.exists():
                place.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    shutil.copy2(Path(folder, name), copy)


def sqlite(source: str, target: str) -> None:
    """One moment of it, whatever is written meanwhile."""
    if not Path(source).is_file():
        sys.exit(f"There is no database {source}.")
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def libpq() -> None:
    """As lines a shell reads."""
    url = urlsplit(os.environ["DARKROOM_DATABASE_URL"])  # noqa: TID251
    found = {
        "PGHOST": unquote(url.hostname or ""),
        "PGPORT": str(url.port or ""),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": unquote(url.path.lstrip("/")),
    }
    found |= {PARTS[name]: value for name, value in parse_qsl(url.query) if name in PARTS}
    for name, value in found.items():
        if value:
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


if __name__ == "__main__":
    {"files": files, "sqlite": sqlite, "libpq": libpq}[sys.argv[1]](*sys.argv[2:])
