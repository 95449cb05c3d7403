"""What `migrate --to` does for whoever goes back a version, and `--check` and `--write` for whoever changed a table."""

from __future__ import annotations

from app.settings import SettingsError
from app.store.schema import MIGRATIONS, NewerSchema, downgrade, drift, revise
from app.wiring import FEATURES


def bring_back(url: str, revision: str) -> int:
    """Raises SettingsError when there is no such revision, or when only a newer version knows the way back."""
    from alembic.util import CommandError

    try:
        found = downgrade(url, revision)
    except NewerSchema as error:
        raise SettingsError(f"{error} Have that one bring it to {revision}.") from None
    except CommandError as error:
        raise SettingsError(f"The database cannot be brought to {revision}: {error}. Is it this version's?") from None
    print(f"The database is at {found}.")
    return 0


def check_tables(url: str) -> int:
    """0 when the migrations lead to the tables that the features declare. Raises SettingsError when the database is at
    a newer version's."""
    from alembic.util import CommandError

    try:
        drift(url, print)
    except NewerSchema as error:
        raise SettingsError(f"{error} Its tables are not this version's to check.") from None
    except CommandError as error:
        print(error)
        print("Write a migration: darkroom migrate --write 0002_what_is_new")
        return 1
    print(f"The migrations lead to the tables of all {len(FEATURES)} features.")
    return 0


def write_migration(url: str, name: str) -> int:
    revise(url, name.partition("_")[2].replace("_", " ").capitalize() + ".", name)
    print(f"Read it, format it, and try it both ways: {MIGRATIONS / 'versions' / name}.py")
    return 0
