"""Everything a caller can be told has gone wrong, as one tree. Each class is one RFC 9457 problem:
its docstring is the title, `slug` the machine word and the end of the `type` URI, `status` the HTTP answer.

Problem
├── Malformed 400             ├── Conflict 409                  ├── TooManyRequests 429
├── NotAuthenticated 401      │   ├── IllegalMove               ├── Internal 500
├── NotEnoughCredits 402      │   └── InUse                     ├── Unavailable 503
├── Forbidden 403             │                                 │   └── Draining
├── NotFound 404              ├── TooLarge 413                  ├── StorageFull 507
├── MethodNotAllowed 405      ├── UnsupportedMediaType 415      └── (each slice's own leaves)
├── NotAcceptable 406         ├── RangeNotSatisfiable 416
└── InvalidRequest 422 ── KeyReused

Slices add leaves of their own where a caller can act on the difference.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong field: where (a JSON pointer such as `/body/input/prompt`), what, and a machine word."""

    pointer: str
    detail: str
    code: str


_LONGEST_STEP = 100


def pointer(where: str, steps: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901) below `where`; an endless name is cut short."""
    return where + "".join(f"/{str(step)[:_LONGEST_STEP].replace('~', '~0').replace('/', '~1')}" for step in steps)


class Problem(Exception):
    """Something went wrong"""

    slug: ClassVar[str] = "problem"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    way_out: ClassVar[str] = "Read the detail."
    """What whoever meets it can do."""

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or next((f"{error.pointer}: {error.detail}" for error in errors), self.title())
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = extra

    @classmethod
    def title(cls) -> str:
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")

    def document(self, request_id: str | None = None) -> dict[str, Any]:
        """The problem as the JSON object of RFC 9457, with our members beside the standard ones."""
        body: dict[str, Any] = {
            "type": f"/docs/errors#{self.slug}",
            "title": self.title(),
            "status": self.status,
            "detail": self.detail,
            "code": self.slug,
            "retryable": self.retryable,
        }
        if request_id:
            body["request_id"] = request_id
        if self.errors:
            body["errors"] = [{"pointer": e.pointer, "detail": e.detail, "code": e.code} for e in self.errors]
        return body | self.extra


class Malformed(Problem):
    """The request could not be read"""

    slug, status = "malformed", 400
    way_out = "Correct the request: the detail says where it stops making sense."


class NotAuthenticated(Problem):
    """No valid key or session came with the request"""

    slug, status = "not-authenticated", 401
    way_out = "Send a key that is neither revoked nor expired, as Authorization: Bearer; in a browser, sign in again."


class NotEnoughCredits(Problem):
    """Too few credits"""

    slug, status = "not-enough-credits", 402
    way_out = "Ask the operator for a grant, ask for less, or wait until work under way gives credits back."


class Forbidden(Problem):
    """This key or session may not do that"""

    slug, status = "forbidden", 403
    way_out = "Use a key with the scope that the detail names, or the key of an operator."


class NotFound(Problem):
    """No such thing here"""

    slug, status = "not-found", 404
    way_out = "Look at the id, and at whose key it is: what belongs to another workspace is not there for this one."


class MethodNotAllowed(Problem):
    """This address does not take that method"""

    slug, status = "method-not-allowed", 405
    way_out = "Use one of the methods in the Allow header."


class NotAcceptable(Problem):
    """The answer does not exist in the form asked for"""

    slug, status = "not-acceptable", 406
    way_out = "Send an Accept header that admits what the detail names, or none."


class Conflict(Problem):
    """The thing is in another state than the request needs"""

    slug, status = "conflict", 409
    way_out = "Look at the thing as it is now, and decide anew."


class IllegalMove(Conflict):
    """That move is not possible from the present state"""

    slug = "illegal-move"
    way_out = "Look at its state and at the moves that are possible from there; both are in the problem."


class InUse(Conflict):
    """Something else still depends on this"""

    slug = "in-use"
    way_out = "Wait until what uses it has ended, then try again."


class TooLarge(Problem):
    """The request is too large"""

    slug, status = "too-large", 413
    way_out = "Send less: the detail says how much is taken."


class UnsupportedMediaType(Problem):
    """The body is of a kind that is not taken here"""

    slug, status = "unsupported-media-type", 415
    way_out = "Send it as the Accept header of the answer says."


class RangeNotSatisfiable(Problem):
    """The range asked for lies outside the file"""

    slug, status = "range-not-satisfiable", 416
    way_out = "Ask for a range within the size in the Content-Range header."


class InvalidRequest(Problem):
    """The request is well formed, but something in it is wrong"""

    slug, status = "invalid-request", 422
    way_out = "Correct the fields in errors; each names its place by a JSON pointer."


class KeyReused(InvalidRequest):
    """This Idempotency-Key was used with another request"""

    slug = "key-reused"
    way_out = "Use a new Idempotency-Key for a new request, or repeat the first one exactly."


class TooManyRequests(Problem):
    """Too many requests"""

    slug, status, retryable = "too-many-requests", 429, True
    way_out = "Wait for as long as the Retry-After header says."


class Internal(Problem):
    """An unexpected fault on our side"""

    slug, status = "internal", 500
    way_out = "Tell the operator the request_id, which leads to the log. Work that was accepted goes on."


class Unavailable(Problem):
    """Something this service needs is away for the moment"""

    slug, status, retryable = "unavailable", 503, True
    way_out = "Try again after the Retry-After header; with an Idempotency-Key nothing is done twice."


class Draining(Unavailable):
    """This process is shutting down; ask again in a moment"""

    slug = "draining"
    way_out = "Try again at once: another process, or the next start, answers."


class StorageFull(Problem):
    """There is no room left to write"""

    slug, status, retryable = "storage-full", 507, True
    way_out = "Tell the operator to make room, then try again."


PROBLEMS: tuple[type[Problem], ...] = (
    Problem,
    Malformed,
    NotAuthenticated,
    NotEnoughCredits,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    IllegalMove,
    InUse,
    TooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    InvalidRequest,
    KeyReused,
    TooManyRequests,
    Internal,
    Unavailable,
    Draining,
    StorageFull,
)
"""Those of no slice in particular; `app/wiring.py` adds the leaves of the slices."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_MEANS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def as_problem(error: BaseException) -> Problem | None:
    """What an error means when it is this machine that has run out of something: nobody's fault, and it passes."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageFull("The disk is full; nothing was changed.")
    if isinstance(error, OSError) and error.errno in _NO_MEANS:
        return Unavailable(f"This machine has run out of something: {error.strerror}.")
    return None
