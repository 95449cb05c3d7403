"""What a stream of events is to whoever writes it out: the store follows the log, the web writes to sockets, and this
is all they know of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Behind(LookupError):
    """What comes next is no longer in memory: `take` reads it from the database."""


class Feed(Protocol):
    """One reader's place in a stream. What it hands out is whole SSE frames, each once, in order."""

    spent: bool
    """The reader came back, has everything already, and nothing more will come."""

    def ready(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` on the event loop, cheaply and perhaps often, when more may be there; None to stop."""
        ...

    async def take(self) -> bytes | None:
        """The next frames, joined; b"" when there is nothing now, None when the stream is over."""
        ...

    def take_now(self) -> bytes | None:
        """The same from memory alone.

        Raises:
            Behind: the next frames have to be fetched with `take`.
        """
        ...

    def close(self) -> None: ...
