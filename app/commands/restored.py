"""`restored`: what has to be seen to after a restore."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from app.commands.options import World

_FAL_AWAY = 75
"""The exit code that `deploy/restore` takes for done so far. EX_TEMPFAIL, as in sysexits.h."""


def restored(since: str, *, data: World = None) -> int:
    """Say that this database was just restored from a backup; `deploy/restore` does it.

    Jobs of before the backup may have been sent to fal since. They are looked for there before they are bought again,
    which takes ten minutes for those that never were. What fal has made for jobs that are lost with the time since the
    backup is named by `verify` from now on. Ends with 75 when only this could not be asked, since fal is away: the
    service may start then, and this be run again later.

    Args:
        since: When the backup was made: 2026-01-31T04:00:00Z.
    """
    from app.commands.loop import run
    from app.settings import SettingsError

    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise SettingsError(f"{since!r} is no time. Say it like 2026-01-31T04:00:00Z.") from None
    return run(_seen_to(data, moment if moment.tzinfo else moment.replace(tzinfo=UTC)))


async def _seen_to(data: Path | None, since: datetime) -> int:
    from app.commands.opened import opened_services
    from app.core.errors import Unavailable
    from app.jobs.restored import bought_since, note_purchases, note_restore

    async with opened_services(data) as (_, services, _features):
        waiting = await services.db.write(lambda tx: note_restore(tx, since))
        print(
            f"{waiting} waiting jobs, and those under way if tried anew, are looked for at fal before they are bought."
        )
        try:
            bought = await bought_since(services, since)
        except Unavailable as away:
            print(f"What was bought since the backup is not known: {away.detail} Run this again when fal answers.")
            return _FAL_AWAY
        if bought is None:
            print("What was bought since the backup is not known: FAL_KEY may not read fal's list of requests.")
            return 0
        unclaimed = await services.db.write(lambda tx: note_purchases(tx, bought))
    print(f"fal lists {len(bought)} requests since the backup; {unclaimed} of them belong to no attempt so far.")
    return 0
