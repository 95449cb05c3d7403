"""`refused`: what the webhook door turned away."""

from __future__ import annotations

from pathlib import Path

from app.commands.options import World


def refused(*, limit: int = 20, json: bool = False, data: World = None) -> int:
    """List what came as a delivery from fal and was refused, newest first.

    Of each verdict the first few in a minute are kept, a few hundred in all; the metric counts every one.

    Args:
        limit: How many, at most 500.
        json: Print them for a program.
    """
    from app.commands.loop import run

    return run(_refused(data, limit, as_json=json))


async def _refused(data: Path | None, limit: int, *, as_json: bool) -> int:
    import json

    from app.commands.opened import opened_services
    from app.jobs.refusals import refused as listed
    from app.settings import SettingsError

    if not 1 <= limit <= 500:
        raise SettingsError("--limit is between 1 and 500.")
    async with opened_services(data) as (_, services, _features):
        found = (await listed(services, limit)).data
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found], indent=1))
        return 0
    for each in found:
        print(f"{each.received_at:%Y-%m-%d %H:%M:%S}  {each.verdict:<11}  {each.attempt:<30}  {each.detail}")
    return 0
