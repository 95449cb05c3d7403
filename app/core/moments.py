"""Times from outside, kept where every database, calendar and zone can hold them, sums of them too. Whoever asks for
what was made since the year 1 means everything, so such a time is moved, not refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _within_reason(given: datetime) -> datetime:
    if not _EARLIEST.year < given.year < _LATEST.year:  # further out, not even its zone can be changed
        return _EARLIEST if given.year <= _EARLIEST.year else _LATEST
    return given.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_within_reason)]
