"""How rows are written down: one metadata with named constraints, JSON and enum columns that mean the same on SQLite
and PostgreSQL, and the few statement shapes the two spell differently."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Column, Dialect, MetaData, String, Table, Text, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from app.core.lifecycle import Lifecycle
from app.store.prepared import Prepared

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Row(SQLModel):
    """Base of every table. Rows are never built from request data: SQLModel tables do not validate."""

    metadata = metadata


def json_column(*, nullable: bool = False) -> Column[Any]:
    return Column(
        JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql"), nullable=nullable
    )


def text_column(*, nullable: bool = False) -> Column[str]:
    """Text of any length, not indexed."""
    return Column(Text, nullable=nullable)


class StateText(TypeDecorator[StrEnum]):
    """A state as plain text: a native enum would need hand-written DDL for each state added later."""

    impl = String
    cache_ok = True

    def __init__(self, states: type[StrEnum]) -> None:
        super().__init__(max(len(s) for s in states))
        self.states = states

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.states(value)


def state_column(states: type[StrEnum], *, primary_key: bool = False) -> Column[Any]:
    return Column(StateText(states), nullable=False, primary_key=primary_key)


def states_check(lifecycle: Lifecycle[Any], column: str = "status") -> CheckConstraint:
    return CheckConstraint(lifecycle.check(column), name=column)


def table(row: type[Row]) -> Table:
    """The SQLAlchemy table under a row class: statements are built over it once, at import."""
    found: Table = row.__table__  # type: ignore[attr-defined]
    return found


def insert_if_new(row: type[Row]) -> Mapping[str, Prepared]:
    """INSERT … ON CONFLICT DO NOTHING for each dialect by name; its rowcount says whether the row is new."""
    into = table(row)
    return {
        "sqlite": Prepared(sqlite.insert(into).on_conflict_do_nothing()),
        "postgresql": Prepared(postgresql.insert(into).on_conflict_do_nothing()),
    }
