"""Credits: what people may spend, held before the work and settled once after it, and what fal bills for it."""

from app.credits import api, checks, events
from app.feature import Feature

FEATURE = Feature(
    name="credits",
    operations=api.OPERATIONS,
    checks=checks.CHECKS,
    events=(events.CreditsHeld, events.CreditsPosted, events.CreditsVoided, events.CreditsGranted),
)
