"""Lists are pages, newest first. A cursor is opaque and signed for the workspace and the list it was given out for, so
that one from elsewhere is simply not valid here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from app.core.errors import FieldError, InvalidRequest

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list; hand `next_cursor` back as `cursor` for the next one."""

    data: list[Item]
    has_more: bool
    next_cursor: str | None = None


@dataclass(frozen=True)
class Cursors:
    """Signs and reads cursors. `place` names the list and the workspace, e.g. `jobs:ws_01…`."""

    secret: bytes

    def write(self, place: str, position: str) -> str:
        raw = position.encode()
        return base64.urlsafe_b64encode(self._mac(place, raw) + raw).rstrip(b"=").decode()

    def read(self, place: str, cursor: str) -> str:
        """The position a cursor stands for.

        Raises:
            InvalidRequest: the cursor is not one of ours, or of another list or workspace.
        """
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) <= 16 or not hmac.compare_digest(raw[:16], self._mac(place, raw[16:])):
            wrong = FieldError(
                "/query/cursor", "Not a cursor of this list. Leave it out to start at the newest.", "cursor"
            )
            raise InvalidRequest("The cursor does not belong to this list.", errors=[wrong])
        return raw[16:].decode()

    def _mac(self, place: str, raw: bytes) -> bytes:
        return hmac.digest(self.secret, place.encode() + b"\0" + raw, hashlib.sha256)[:16]


def page_of(found: Sequence[Item], limit: int, cursor_after: Callable[[Item], str]) -> Page[Item]:
    """A page from a query that asked for `limit + 1` rows."""
    kept = list(found[:limit])
    more = len(found) > limit
    return Page(data=kept, has_more=more, next_cursor=cursor_after(kept[-1]) if more else None)
