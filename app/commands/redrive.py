"""`redrive`: a completion that was received, worked on again."""

from __future__ import annotations

from pathlib import Path

from app.commands.options import World


def redrive(delivery: str, *, dry_run: bool = False, json: bool = False, data: World = None) -> int:
    """Have a completion that was received worked on again.

    Nothing is bought or paid twice by it: a job that has ended stays as it is.

    Args:
        delivery: Its id, as `GET /api/v1/deliveries` shows it.
        dry_run: Only say what it would do.
        json: Print it for a program.
    """
    from app.commands.loop import run

    return run(_redrive(data, delivery, dry_run=dry_run, as_json=json))


async def _redrive(data: Path | None, delivery: str, *, dry_run: bool, as_json: bool) -> int:
    from app.commands.opened import opened_services
    from app.core.errors import NotFound
    from app.jobs.redrive import redrive as drive
    from app.settings import SettingsError

    async with opened_services(data) as (_, services, _features):
        try:
            done = await drive(services, delivery, dry_run=dry_run)
        except NotFound as problem:
            raise SettingsError(problem.detail) from None
    if as_json:
        print(done.model_dump_json(indent=1))
    elif not done.changes:
        print(f"Nothing to do: {done.decision.removeprefix('nothing: ')}.")
    else:
        print(f"{'It would mean' if dry_run else 'It is on its way again. It means'}: {done.decision}.")
    return 0
