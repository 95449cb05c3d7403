"""Newest-first pages over (created_at, id), or another moment: the one order in which lists are given out, steady while
rows are added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, tuple_


def newest_first(
    query: Select[Any], t: Table, limit: int, after: str | None, *, moment: str = "created_at"
) -> Select[Any]:
    """One page and one row more, beginning after the row that `after` (a `position`) names."""
    when = t.c[moment]
    if after:
        at, _, id_ = after.partition("|")
        query = query.where(tuple_(when, t.c.id) < tuple_(datetime.fromisoformat(at), id_))
    return query.order_by(when.desc(), t.c.id.desc()).limit(limit + 1)


def position(moment: datetime, id_: str) -> str:
    return f"{moment.isoformat()}|{id_}"
