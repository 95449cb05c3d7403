"""What a command says, instead of a traceback, when its database cannot be used: which one, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from app.commands.worlds import DATABASE, place
from app.core.errors import Unavailable
from app.settings import Settings, SettingsError
from app.store.schema import OldSchema


@contextmanager
def reached(settings: Settings) -> Iterator[None]:
    """Raises `SettingsError` in place of what a driver says, which may be a hundred lines, and of a bare "away"."""
    try:
        yield
    except (DBAPIError, Unavailable) as error:
        raise SettingsError(_words(settings, error)) from error
    except SettingsError as error:
        if not isinstance(error.__cause__, Unavailable):
            raise
        raise SettingsError(_words(settings, error.__cause__)) from error


def _words(settings: Settings, error: BaseException) -> str:
    if isinstance(error, OldSchema):
        return error.detail
    said = "".join(str(each) for each in (error, error.__cause__, error.__context__) if each is not None)
    if settings.database_url is None:
        if getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
            return f"{settings.home / DATABASE} is no SQLite database. Put back the right file, or move this one away."
        return f"{error.detail if isinstance(error, Unavailable) else 'The database fails.'} It is {place(settings)}."
    url = make_url(settings.database)
    where = f"{place(settings)} cannot be used."[0].upper() + f"{place(settings)} cannot be used."[1:]
    if "does not exist" in said and f'database "{url.database}"' in said:
        return f"{where} There is no database of that name on the server: make it, with `createdb {url.database}` say."
    if "authentication failed" in said or "no password" in said or f'role "{url.username}"' in said:
        return f"{where} The server does not let this user in: look at the name and password in DARKROOM_DATABASE_URL."
    return f"{where} Nobody answers there, or too slowly: does the server run, and is DARKROOM_DATABASE_URL right?"
