"""Which revision the tables are at, and how they get to the newest one. Alembic itself is loaded only to move them: to
look, a SELECT and the names of the files are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.errors import Unavailable
from app.store.columns import metadata
from app.store.database import Database

MIGRATIONS = Path(__file__).with_name("migrations")


class OldSchema(Unavailable):
    """The database is not at the newest migration"""

    slug = "old-schema"
    way_out = "Tell the operator to run darkroom migrate."


class NewerSchema(Exception):
    """The next version has been here, and only that one knows the way back."""

    def __init__(self, found: str) -> None:
        super().__init__(f"The database is at {found}, and only the newer version that made it so knows the way back.")


@cache
def newest() -> str:
    """The newest revision there is. They are numbered, so it is the last by name."""
    return max(file.stem for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def check_schema(db: Database) -> None:
    """Raises `OldSchema` unless the tables are those this program was written for, or newer: migrations only add, so
    that this version and the next may run side by side."""
    try:
        async with db.read() as session:
            connection = await session.connection()
            found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    except DBAPIError as error:
        if error.connection_invalidated or "connect" in str(error).lower():
            raise Unavailable("The database does not answer.") from error
        found = None
    if (found or "") < newest():
        raise OldSchema(f"The database is at migration {found or 'none'}, not {newest()}. Run: darkroom migrate")


def upgrade(url: str) -> str:
    """Bring the tables to the newest revision, unless the next version has been here already; the revision they are at
    then. Processes that do this at the same time wait for each other."""
    from alembic import command

    config = _config(url)
    config.attributes["newer_is_fine"] = True
    command.upgrade(config, "head")
    return str(config.attributes["found"])


def downgrade(url: str, revision: str) -> str:
    """Bring the tables back to an older revision; the one they are at then. Raises `NewerSchema`, and alembic's
    CommandError when there is none of that name."""
    from alembic import command

    config = _config(url)
    command.downgrade(config, revision)
    return str(config.attributes["found"])


def drift(url: str, report: Callable[[str], None]) -> None:
    """Raises `NewerSchema`, and alembic's CommandError when the tables of the migrations are not those the program
    declares."""
    from alembic import command

    command.check(_config(url, report))


def revise(url: str, message: str, number: str) -> None:
    """Write the revision that leads from the database at `url` to the tables the program declares."""
    from alembic import command

    command.revision(_config(url), message=message, autogenerate=True, rev_id=number)


def _config(url: str, report: Callable[[str], None] | None = None) -> Any:
    from alembic.config import Config

    config = Config(stdout=cast("TextIO", _Said(report or (lambda _line: None))))
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s")
    config.attributes["url"] = url
    config.attributes["metadata"] = metadata
    return config


class _Said:
    """A file that hands on each line."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def write(self, text: str) -> int:
        if text.strip():
            self._report(text.strip())
        return len(text)
