"""`verify`: every promise that can be recomputed, recomputed."""

from __future__ import annotations

from app.commands.options import World


def verify(*, data: World = None, json: bool = False) -> int:
    """Recompute every promise that can be recomputed, and say how many of each kind were looked at.

    Ends with 0 when all hold, 1 when one does not, 2 when there was nothing to look at.

    Args:
        json: Print it for a program.
    """
    from app.commands.loop import run
    from app.commands.verification import check_all

    return run(check_all(data, as_json=json))
