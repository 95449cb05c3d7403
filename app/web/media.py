"""In which of its two forms an operation that also streams answers: the `Accept` header decides (RFC 9110 12.5.1)."""

from __future__ import annotations

from app.core.errors import NotAcceptable

STREAM = "text/event-stream"
JSON = "application/json"


def preferred(accept: str, *, named: str, otherwise: str) -> str:
    """`named` for who names it, `otherwise` for who takes that, since programs that take anything want no stream.

    Raises:
        NotAcceptable: neither will do.
    """
    ranges = [_range(each) for each in accept.lower().split(",") if each.strip()] or [("*/*", True)]
    taken = {media for media, wanted in ranges if wanted}
    refused = {media for media, wanted in ranges if not wanted}
    if named in taken:
        return named
    for media in (otherwise, named):
        if media not in refused and taken & {media, f"{media.partition('/')[0]}/*", "*/*"}:
            return media
    raise NotAcceptable(f"Here one can have {named} or {otherwise}.")


def _range(text: str) -> tuple[str, bool]:
    """A media type or a range of them, and whether it is wanted at all: `q=0` says that it is not."""
    media, *parameters = (part.strip() for part in text.split(";"))
    weights = [value.strip() for name, _, value in (each.partition("=") for each in parameters) if name.strip() == "q"]
    return media, not any(weight and not weight.strip("0.") for weight in weights)
