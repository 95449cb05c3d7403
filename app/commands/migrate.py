"""`migrate`: the tables, brought to the newest revision."""

from __future__ import annotations

from pathlib import Path


def migrate(*, to: str | None = None, check: bool = False, write: str | None = None, data: Path | None = None) -> int:
    """Bring the database to the newest migration. Safe to call at every start, also from several machines at once, and
    while the version before runs: it goes on with the newer tables.

    Args:
        to: Bring it back to this older migration instead, when only the version before is to run. What that one
            does not know is lost.
        check: For developers: end with 1 when the tables that the program declares need a new migration.
        write: For developers: write that migration, under this name (0002_what_is_new).
        data: Folder for what is kept on this machine. [default: $DARKROOM_DATA or .darkroom]
    """
    from app.commands.folders import require_home
    from app.commands.reached import reached
    from app.commands.worlds import DATABASE, place
    from app.settings import read_settings
    from app.store.schema import upgrade

    settings = read_settings(data=data)
    if settings.database_url is None:
        require_home(settings.home, data)
    new = settings.database_url is None and not (settings.home / DATABASE).exists()
    with reached(settings):
        if to:
            from app.commands.migrations import bring_back

            return bring_back(settings.database, to)
        found = upgrade(settings.database)
    if check or write:
        from app.commands.migrations import check_tables, write_migration

        return write_migration(settings.database, write) if write else check_tables(settings.database)
    print(f"The database is at {found}: {place(settings)}.")
    if new:
        print(f"It was made just now. Commands that are to look at it: --data {settings.home}.")
    return 0
