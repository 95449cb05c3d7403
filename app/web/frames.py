"""What a stream says that is not from its feed: the head of the answer, a greeting, when to come back, and why it
ends."""

from __future__ import annotations

import json
import logging
import random

from app.core.errors import Internal, Problem

log = logging.getLogger(__name__)

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]
GREETING = b": here is what happens\n"
COMMENT = b":\n\n"


def come_back(chance: random.Random) -> bytes:
    """In one to five seconds: not all in the same one."""
    return b"retry: %d\n\n" % chance.randint(1000, 5000)


def closed(error: BaseException) -> bytes:
    """Why there is no more; of a fault of ours no more than that it was one, and the rest in the log."""
    if isinstance(error, Problem):
        problem = error
    else:
        problem = Internal()
        log.error("A stream ended with an error.", exc_info=error)
    document = json.dumps(problem.document(), separators=(",", ":"))
    return b"event: stream.closed\ndata: %b\n\n" % document.encode()
