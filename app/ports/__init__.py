"""The outside world. A port exists only where two real implementations do; `tests/contracts` runs one suite over all of
them. The database is no port: SQLite and PostgreSQL are both reached through `app.store`.
"""

from app.ports.files import Blobs, BlobStat, Darkroom, Developed, Digest, Fetcher, FetchFailed, FetchRefused, SignedFile
from app.ports.provider import (
    Accepted,
    Answer,
    ListedRequest,
    NotAccepted,
    Progress,
    Provider,
    Rejected,
    Submission,
    Ticket,
    Unanswered,
    Unsent,
)
from app.ports.signals import EVERYTHING, Bus, Clock
from app.ports.vision import Picture, Question, Reply, Vision

__all__ = [
    "EVERYTHING",
    "Accepted",
    "Answer",
    "BlobStat",
    "Blobs",
    "Bus",
    "Clock",
    "Darkroom",
    "Developed",
    "Digest",
    "FetchFailed",
    "FetchRefused",
    "Fetcher",
    "ListedRequest",
    "NotAccepted",
    "Picture",
    "Progress",
    "Provider",
    "Question",
    "Rejected",
    "Reply",
    "SignedFile",
    "Submission",
    "Ticket",
    "Unanswered",
    "Unsent",
    "Vision",
]
