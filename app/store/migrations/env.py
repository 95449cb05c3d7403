"""Run by Alembic with each command of `app.store.schema`, which hands over the database's address and the tables."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, Connection, TypeDecorator, create_engine, text  # noqa: TID251 - a maker of engines

from app.store.schema import NewerSchema, newest

ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(7218406351)")


def run() -> None:
    engine = create_engine(context.config.attributes["url"])
    try:
        with engine.connect() as connection:
            migrate(connection)
    finally:
        engine.dispose()


def migrate(connection: Connection) -> None:
    """All of it in one transaction: a migration that breaks leaves nothing behind."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes["metadata"],
        compare_type=True,
        render_as_batch=True,
        render_item=plainly,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(ONE_AT_A_TIME)
        if found() <= newest():
            context.run_migrations()
        elif not context.config.attributes.get("newer_is_fine"):
            raise NewerSchema(found())
        context.config.attributes["found"] = found() or "base"
    connection.commit()


def found() -> str:
    return context.get_context().get_current_revision() or ""


def plainly(kind: str, item: Any, imports: Any) -> str | Literal[False]:
    """Types as SQLAlchemy has them: a migration must not change with the libraries on top."""
    if kind != "type":
        return False
    if isinstance(item, JSON):
        imports.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")'
    return f"sa.{item.impl_instance!r}" if isinstance(item, TypeDecorator) else False


run()
