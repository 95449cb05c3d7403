"""The provider: whoever makes the pictures (fal.ai, or the sandbox behind DARKROOM_FAL_URL)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Ticket:
    """Where one accepted request lives at the provider. The three URLs are those the provider gave, or derived ones."""

    endpoint: str
    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


@dataclass(frozen=True)
class Accepted:
    """The provider has queued the request."""

    ticket: Ticket


@dataclass(frozen=True)
class Rejected:
    """The provider took the request and refused it for good (4xx with its request id): a failed generation."""

    status: int
    body: Any
    request_id: str | None = None


@dataclass(frozen=True)
class NotAccepted:
    """The gateway turned the request away before its queue (401, 403, 429): nothing was bought, our key or balance is
    to blame, not the user's job."""

    status: int
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Unsent:
    """The connection was refused before a byte was sent: the only failure that is certainly safe to repeat."""

    detail: str


@dataclass(frozen=True)
class Unanswered:
    """Sent, no answer. A picture may or may not have been bought; only evidence may decide (`promises.md` D4)."""

    detail: str


Submission = Accepted | Rejected | NotAccepted | Unsent | Unanswered


@dataclass(frozen=True)
class Progress:
    """What the provider says of a request. `state` is queued, running, done, missing (it knows no such request) or
    unclear (it did not answer, or not in a form we know: never a reason to give up)."""

    state: str
    position: int | None = None
    logs: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Answer:
    """The model's own HTTP answer: its status, its JSON, the units billed and the retry hint when headers carry them.
    `status` 0 means that the provider could not be reached or its answer was cut: nothing is known."""

    status: int
    body: Any
    billable_units: float | None = None
    retryable: bool | None = None
    error_type: str | None = None


@dataclass(frozen=True)
class ListedRequest:
    """A request as the provider's own list shows it (`fal.md` section 6, by-endpoint, with payloads)."""

    request_id: str
    endpoint: str
    sent_at: datetime
    ended_at: datetime | None
    status: int | None
    arguments: Any
    result: Any


class Provider(Protocol):
    """Expected failures are values (above). No call repeats a paid POST by itself."""

    async def place(self, chunks: AsyncIterator[bytes], *, size: int, content_type: str, name: str) -> str:
        """Store a reference picture where the provider can read it; its URL. Raises `Unavailable`."""
        ...

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any],
        *,
        webhook_url: str | None,
        low_priority: bool = False,
        start_timeout: float | None = None,
    ) -> Submission:
        """ONE paid POST."""
        ...

    def ticket(self, endpoint: str, request_id: str) -> Ticket:
        """The URLs that follow from endpoint and request id, for a request whose submit answer was never seen."""
        ...

    async def progress(self, ticket: Ticket, *, logs: bool = False) -> Progress: ...

    async def result(self, ticket: Ticket) -> Answer: ...

    async def cancel(self, ticket: Ticket) -> str:
        """`accepted`, `too_late` or `unclear`."""
        ...

    async def listed(self, endpoint: str, since: datetime, until: datetime) -> Sequence[ListedRequest] | None:
        """All requests sent in the window, or None when the key may not read the list. Raises `Unavailable` rather than
        give a part of them."""
        ...

    async def keys(self) -> Sequence[bytes]:
        """The public Ed25519 keys webhooks are signed with, 32 bytes each, at most 16. Raises `Unavailable`."""
        ...

    async def check(self) -> None:
        """Raises `Unavailable` with what a person can do about it."""
        ...

    async def close(self) -> None: ...
