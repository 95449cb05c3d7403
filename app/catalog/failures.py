"""The ways a job can fail, as data: what the person who asked is told, and whether asking again can help. The jobs
slice turns a code and a detail into the job's `error`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    CONTENT_REFUSED = "content-refused"
    INVALID_INPUT = "invalid-input"
    REFERENCE_UNREADABLE = "reference-unreadable"
    NO_PICTURE = "no-picture"
    PROVIDER_FAULT = "provider-fault"
    PROVIDER_TIMEOUT = "provider-timeout"
    UNREADABLE_ANSWER = "unreadable-answer"
    GONE = "gone"
    PICTURE_LOST = "picture-lost"
    ATTEMPTS_SPENT = "attempts-spent"
    DEADLINE_PASSED = "deadline-passed"
    POISONED = "poisoned"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Failure:
    """`status` is what the same would be as an answer. `retryable` says whether the same request, made again as a new
    job, has a fair chance."""

    code: Code
    status: int
    title: str
    advice: str
    retryable: bool


_ALL = (
    Failure(
        Code.CONTENT_REFUSED,
        422,
        "The model refused the content",
        "Change the prompt or the reference pictures; the same request will be refused again.",
        retryable=False,
    ),
    Failure(
        Code.INVALID_INPUT,
        422,
        "The model does not take this input",
        "Correct the field that is named and send a new job.",
        retryable=False,
    ),
    Failure(
        Code.REFERENCE_UNREADABLE,
        422,
        "A reference picture could not be used",
        "Check that the picture opens and is of a kind and size the model takes, then upload it again.",
        retryable=False,
    ),
    Failure(
        Code.NO_PICTURE,
        422,
        "The model answered without a picture",
        "Try again; if it keeps happening, say more plainly in the prompt what should be drawn.",
        retryable=True,
    ),
    Failure(
        Code.PROVIDER_FAULT,
        502,
        "Something broke at fal",
        "Try again in a while; nothing is wrong with the request.",
        retryable=True,
    ),
    Failure(
        Code.PROVIDER_TIMEOUT,
        504,
        "fal did not finish in time",
        "Try again in a while, or ask for fewer or smaller pictures.",
        retryable=True,
    ),
    Failure(
        Code.UNREADABLE_ANSWER,
        502,
        "fal's answer could not be read",
        "Tell the operator: the answer is kept as a delivery, for whoever mends this. Then try again.",
        retryable=False,
    ),
    Failure(
        Code.GONE,
        502,
        "The result is no longer at fal",
        "Try again: fal no longer has the result, so the picture has to be made anew.",
        retryable=True,
    ),
    Failure(
        Code.PICTURE_LOST,
        502,
        "The picture was made, but could not be fetched",
        "Nothing was charged, and what was held is given back. Trying again makes a new picture, which costs again.",
        retryable=True,
    ),
    Failure(
        Code.ATTEMPTS_SPENT,
        502,
        "Every attempt failed",
        "Look at the attempts to see why, then try again.",
        retryable=True,
    ),
    Failure(
        Code.DEADLINE_PASSED,
        504,
        "The job took longer than it may",
        "Try again; if fal's queue is long, choose another model or another hour.",
        retryable=True,
    ),
    Failure(
        Code.POISONED,
        500,
        "Working on this job stopped the worker again and again",
        "Tell the operator: the job is set aside so that it cannot hold up others.",
        retryable=False,
    ),
    Failure(
        Code.CANCELLED,
        409,
        "The job was cancelled",
        "Send it again if it is still wanted.",
        retryable=True,
    ),
)

FAILURES: Mapping[Code, Failure] = {failure.code: failure for failure in _ALL}
