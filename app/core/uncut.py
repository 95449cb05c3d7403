"""Work that is finished once it was begun. A database read that is cancelled half way may take its connection with it;
whoever may be cancelled at any time, as one who serves a reader that just left, reads through this."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uncut(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to. A cancellation is passed on only when it is done."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
