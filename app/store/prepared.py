"""Statements that go past SQLAlchemy to the driver: SQLAlchemy compiles them, once for each dialect and set of columns,
and they are run with its own conversions of values. Its whole way through a statement costs several times what the
database takes for it (`performance.md` section 13), which the few that every job needs cannot afford.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeAlias, overload

from sqlalchemy import ClauseElement, Connection, CursorResult, Dialect, Executable
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

Values: TypeAlias = Mapping[str, Any]
Convert: TypeAlias = Callable[[Any], Any] | None


class Prepared:
    """A statement that is built once, at import, and run often."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, ...], Text] = {}

    def text(self, dialect: Dialect, names: tuple[str, ...]) -> Text:
        """As this dialect writes it, for values of these names."""
        key = (dialect.name, *names)
        if (text := self._texts.get(key)) is None:
            text = self._texts[key] = _compiled(self._statement, dialect, names)
        return text


@dataclass(frozen=True)
class Text:
    """`fixed` are the values that stand in the statement itself. `takes` and `gives`: each place with its conversion to
    and from the driver. `positional`: the driver wants a sequence and not a mapping."""

    sql: str
    fixed: Values
    takes: tuple[tuple[str, Convert], ...]
    gives: tuple[Convert, ...]
    columns: SimpleResultMetaData
    positional: bool

    def bound(self, values: Values) -> Any:
        """The values as the driver takes them."""
        values = {**self.fixed, **values} if self.fixed else values
        if self.positional:
            return [convert(values[name]) if convert else values[name] for name, convert in self.takes]
        return {name: convert(values[name]) if convert else values[name] for name, convert in self.takes}

    def read(self, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """The rows as SQLAlchemy gives them."""
        if not any(self.gives):
            return iter(rows)
        return (
            tuple(convert(value) if convert else value for convert, value in zip(self.gives, row, strict=True))
            for row in rows
        )


class Outcome(IteratorResult[Any]):
    """What a statement brought: rows, or how many it touched. Where statements are sent ahead of their answers, it is
    waited for when it is looked at."""

    def __init__(self, text: Text, rows: Iterator[Sequence[Any]], count: Callable[[], int]) -> None:
        super().__init__(text.columns, rows)
        self._count = count

    @property
    def rowcount(self) -> int:
        return self._count()


class Runs(Protocol):
    """A write's `Tx`, as those see it whom it needs itself."""

    dialect: str
    now: datetime

    @overload
    def execute(self, statement: Prepared, parameters: Any = None) -> Outcome: ...

    @overload
    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[*tuple[Any, ...]]: ...


class Direct:
    """A transaction's statements on their way to the driver."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._driver: Any = connection.connection.driver_connection
        self._error: type[Exception] = self._dialect.loaded_dbapi.Error

    def run(self, prepared: Prepared, parameters: Values | Sequence[Values] | None) -> Outcome:
        rows: Sequence[Values] = parameters if isinstance(parameters, list) else [parameters or {}]  # type: ignore[list-item]
        text = prepared.text(self._dialect, tuple(rows[0]))
        try:
            cursor = self._cursor()
            if len(rows) == 1:
                cursor.execute(text.sql, text.bound(rows[0]))
            else:
                cursor.executemany(text.sql, [text.bound(values) for values in rows])
            return self._outcome(text, cursor)
        except self._error as error:
            self._explain(error, text.sql)

    def say(self, words: str) -> None:
        """A statement without values that answers nothing."""
        try:
            self._cursor().execute(words)
        except self._error as error:
            self._explain(error, words)

    def settle(self) -> None:
        """Wait until everything sent has been answered. Raises what had gone wrong."""

    def _cursor(self) -> Any:
        return self._driver.cursor()

    def _outcome(self, text: Text, cursor: Any) -> Outcome:
        rows = cursor.fetchall() if text.gives else []
        return Outcome(text, text.read(rows), lambda: int(cursor.rowcount))

    def _explain(self, error: Exception, sql: str) -> NoReturn:
        """Raise it in SQLAlchemy's wrapping, and take a broken connection out of the pool, as its own statements do."""
        raise_ = self._connection._handle_dbapi_exception  # noqa: SLF001
        raise_(error, sql, None, None, None)


class Pipeline(Direct):
    """On PostgreSQL they are sent ahead, and answers are waited for when somebody looks at them: a write then takes
    four journeys to the server instead of a dozen. What goes wrong is heard at the next look, or at the end."""

    _pipeline: Any = None

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._open = ExitStack()

    def settle(self) -> None:
        self._pipeline = None
        self._arrive(self._open.close)

    def _cursor(self) -> Any:
        if self._pipeline is None:
            self._pipeline = self._open.enter_context(self._driver.pipeline())
        return self._driver.cursor()

    def _outcome(self, text: Text, cursor: Any) -> Outcome:
        def rows() -> Iterator[Sequence[Any]]:
            yield from text.read(self._arrive(cursor.fetchall))

        def count() -> int:
            if self._pipeline is not None:
                self._arrive(self._pipeline.sync)
            return int(cursor.rowcount)

        return Outcome(text, rows(), count)

    def _arrive(self, wait: Callable[[], Any]) -> Any:
        try:
            return wait()
        except self._error as error:
            self._explain(error, "(the statement that was looked at, or one before it)")


def _compiled(statement: ClauseElement, dialect: Dialect, names: tuple[str, ...]) -> Text:
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names) or None)
    full = compiled.construct_expanded_state(dict.fromkeys(names))
    defaults = {column.key: column.default.arg for column in compiled.insert_prefetch}
    # What SQLAlchemy's own execution reads; nothing public tells it.
    converts = {**compiled._bind_processors, **full.processors}  # noqa: SLF001
    columns = compiled._result_columns  # noqa: SLF001
    return Text(
        sql=full.statement,
        fixed={name: value for name, value in {**full.parameters, **defaults}.items() if name not in names},
        takes=tuple((name, converts.get(name)) for name in full.positiontup or full.parameters),
        gives=tuple(column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns),
        columns=SimpleResultMetaData([column.keyname for column in columns]),
        positional=bool(compiled.positional),
    )
