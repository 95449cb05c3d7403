"""The sandbox's own durable log: every paid request and its end, every delivery try, every painted box, every file.

It is also the sandbox's memory over a restart, and what somebody who does not trust the service counts with.
SQLite in write-ahead mode, one short statement per fact, written before the answer goes out.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from app.sandbox import room
from app.sandbox.fal.submission import Submission

_COLUMNS = [f.name for f in fields(Submission)]
_AS_JSON = {"chaos", "headers", "files"}
_AS_BOOL = {"keep"}

_TABLES = f"""
CREATE TABLE IF NOT EXISTS requests ({", ".join(c + (" PRIMARY KEY" if c == "id" else "") for c in _COLUMNS)});
CREATE INDEX IF NOT EXISTS requests_by_digest ON requests (digest);
CREATE INDEX IF NOT EXISTS requests_by_endpoint ON requests (account, endpoint, ordinal);
CREATE INDEX IF NOT EXISTS requests_open ON requests (state) WHERE state IN ('queued', 'running');
CREATE TABLE IF NOT EXISTS deliveries (request_id, time REAL, kind, number INTEGER, url, timestamp INTEGER,
    body_sha256, status INTEGER, error, seconds REAL);
CREATE TABLE IF NOT EXISTS boxes (request_id, sha256, name, x INTEGER, y INTEGER, w INTEGER, h INTEGER,
    width INTEGER, height INTEGER, time REAL);
CREATE TABLE IF NOT EXISTS files (path PRIMARY KEY, sha256, content_type, size INTEGER, name, created REAL,
    expires REAL, request_id);
CREATE TABLE IF NOT EXISTS pictures (sha256 PRIMARY KEY, likeness, thumb, request_id, prompt, model,
    width INTEGER, height INTEGER);
CREATE TABLE IF NOT EXISTS questions (time REAL, model, images INTEGER, text, status INTEGER, answer,
    input_tokens INTEGER, output_tokens INTEGER);
CREATE TABLE IF NOT EXISTS counters (name PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name PRIMARY KEY, value);
"""


class Log:
    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "sandbox.sqlite", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        self._uncounted: Counter[str] = Counter()
        self.ordinal: int = self.scalar("SELECT count(*) FROM requests")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # after some errors SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    def save(self, sub: Submission) -> None:
        row = asdict(sub)
        values = [json.dumps(row[c]) if c in _AS_JSON else row[c] for c in _COLUMNS]
        self._db.execute(_insert("requests", _COLUMNS), values)

    def submission(self, request_id: str) -> Submission | None:
        return next(self.submissions("id = ?", request_id), None)

    def submissions(self, where: str, *values: object, tail: str = "ORDER BY ordinal") -> Iterator[Submission]:
        sql = f"SELECT * FROM requests WHERE {where} {tail}"  # noqa: S608 - written by us, values are bound
        for row in self._db.execute(sql, values).fetchall():
            yield Submission(**{c: _read(c, row[c]) for c in _COLUMNS})

    def add(self, table: str, **values: object) -> None:
        self._db.execute(_insert(table, list(values)), list(values.values()))

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(sql, values).fetchall()]

    def scalar(self, sql: str, *values: object) -> Any:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def change(self, sql: str, *values: object) -> int:
        return self._db.execute(sql, values).rowcount

    def count(self, name: str, by: int = 1) -> None:
        """Not what the request is about, so never its end: what finds no room is counted with the next of its name."""
        self._uncounted[name] += by
        more = self._uncounted[name]
        try:
            self._db.execute(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = count + ?",
                (name, more, more),
            )
        except sqlite3.OperationalError as error:
            if not room.passes(error):
                raise
        else:
            del self._uncounted[name]

    def counters(self) -> dict[str, int]:
        for name in list(self._uncounted):
            self.count(name, 0)
        return {row["name"]: row["count"] for row in self.rows("SELECT * FROM counters ORDER BY name")}

    def fact(self, name: str) -> str | None:
        value = self.scalar("SELECT value FROM facts WHERE name = ?", name)
        return None if value is None else str(value)

    def keep_fact(self, name: str, value: str) -> None:
        self.add("facts", name=name, value=value)


def _insert(table: str, columns: list[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own


def _read(column: str, value: Any) -> Any:
    if column in _AS_JSON:
        return json.loads(value)
    return bool(value) if column in _AS_BOOL else value
