"""When nothing can be written, because the disk is full or broken for a while: whatever has to be in the log waits
until there is room again. A run must not end of it, and nobody must be told what is not written down.
"""

import asyncio
import errno
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

LOOK_AGAIN = 0.5  # real seconds

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
_PASSING_IN_SQLITE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}
UNWRITABLE = (OSError, sqlite3.OperationalError)

T = TypeVar("T")


def passes(error: BaseException) -> bool:
    """Whether the same write may well succeed later."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING_IN_SQLITE
    return isinstance(error, OSError) and error.errno in _PASSING


async def once_there_is_room(write: Callable[[], T]) -> T:
    """What `write` gives, as soon as it can be done. It is called again and again, and leaves nothing half done."""
    told = False
    while True:
        try:
            return write()
        except UNWRITABLE as error:
            if not passes(error):
                raise
            if not told:
                told = True
                with suppress(OSError):  # where it goes to may be the disk that is full
                    print(f"sandbox: waits for room to write: {error}", file=sys.stderr)
        await asyncio.sleep(LOOK_AGAIN)
