"""What the door needs to know of fal: the keys it signs with, and the user id our account has there. Both are learned,
kept and shared; a failure to refresh never throws away what was good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.core.errors import Unavailable
from app.jobs.model import PinRow
from app.services import Services


async def signing_keys(services: Services, *, again: bool = False) -> Sequence[bytes]:
    """Fal's public keys, the one that was right last time first. `again` asks for newer ones; whatever anybody sends
    us, fal is asked at most once a minute, and those who want to know meanwhile share the answer."""
    standing, rules = services.standing, services.rules
    old = standing.keys_at is None or (services.clock.now() - standing.keys_at).total_seconds() > rules.keys_max_age
    others_see_to_it = bool(standing.keys) and standing.keys_door.locked()
    if again or (old and not others_see_to_it):
        async with standing.keys_door:
            asked = standing.keys_asked_at
            if asked is None or services.clock.monotonic() - asked >= rules.keys_refresh_every:
                await _ask(services)
    return standing.keys


async def _ask(services: Services) -> None:
    standing = services.standing
    standing.keys_asked_at = services.clock.monotonic()
    try:
        async with asyncio.timeout(services.rules.keys_within):
            found = await services.provider.keys()
    except (Unavailable, TimeoutError):
        services.metrics.count("key_refreshes_total", result="failed")
        return
    services.metrics.count("key_refreshes_total", result="fetched")
    known = [key for key in standing.keys if key in found]
    standing.keys = [*known, *(key for key in found if key not in known)]
    standing.keys_at = services.clock.now()


async def pinned_user(services: Services) -> str | None:
    """Our user id at fal: as set, or as learned from the first delivery that carried our tag. None: not known yet."""
    if services.fal_user is not None:
        return services.fal_user
    if services.standing.user is None:
        async with services.db.read() as session:
            pin = await session.get(PinRow, services.provider_origin)
        services.standing.user = pin.user if pin else None
    return services.standing.user
