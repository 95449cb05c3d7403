"""What the ledger tells its readers."""

from __future__ import annotations

from app.core.events import Event


class CreditsHeld(Event):
    type = "credits.held"

    hold: str
    amount: int
    owner: str


class CreditsPosted(Event):
    type = "credits.posted"

    hold: str
    amount: int
    returned: int
    owner: str


class CreditsVoided(Event):
    type = "credits.voided"

    hold: str
    amount: int
    owner: str
    reason: str


class CreditsGranted(Event):
    type = "credits.granted"

    amount: int
    reason: str
