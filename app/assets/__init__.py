"""Pictures: what comes in, what is kept, and how it is given out again. From a stranger's bytes to a kept picture
the way is containers -> darkroom -> keep; a job's results and people's uploads both take it."""

from __future__ import annotations

from collections.abc import Sequence

from app.assets.api import operations
from app.assets.checks import CHECKS
from app.assets.shelf import ERASE, Holder
from app.assets.storage import OtherStorage, check_storage, claim_storage
from app.assets.sweep import erase, sweep_orphans, sweep_unattached
from app.feature import Feature, Schedule

__all__ = ["FEATURE", "OtherStorage", "check_storage", "claim_storage", "feature"]


def feature(holders: Sequence[Holder] = ()) -> Feature:
    """`holders` of the slices above say what an asset is still needed for."""
    return Feature(
        name="assets",
        operations=operations(holders),
        tasks={ERASE: erase},
        schedules=(
            Schedule("assets.unattached", every=3600.0, handler=sweep_unattached),
            Schedule("assets.orphans", every=3600.0, handler=sweep_orphans),
        ),
        checks=CHECKS,
    )


FEATURE = feature()
