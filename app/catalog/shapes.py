"""How fal's models answer: `images[]`, or a single `image`. Only `url` can be relied on (`fal.md` section 5); all
else may be missing, odd or new. Problems are told as ValueError, in words that never quote the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.catalog.spec import OutputFile, Outputs

MOST_FILES = 32
LONGEST_URL = 8_192


def pictures(body: Mapping[str, Any]) -> Outputs:
    """A generator's or an editor's answer. A lone `image` in place of the list is taken too."""
    found = body.get("images")
    if found is None and "image" in body:
        found = [body["image"]]
    if not isinstance(found, list):
        raise ValueError("it holds no list of pictures")  # noqa: TRY004 the one error a parser raises
    if len(found) > MOST_FILES:
        raise ValueError(f"it lists more than {MOST_FILES} pictures")
    flags = body.get("has_nsfw_concepts")
    kept = [(file_of(item), _flagged(flags, index)) for index, item in enumerate(found) if item is not None]
    return Outputs(
        files=tuple(file for file, _ in kept),
        seed=seed_of(body.get("seed")),
        note=_note(body.get("description")),
        blocked=tuple(flagged for _, flagged in kept),
    )


def file_of(item: Any, role: str = "image") -> OutputFile:
    url = item.get("url") if isinstance(item, Mapping) else item
    if not isinstance(url, str) or not url.startswith(("https://", "http://")) or len(url) > LONGEST_URL:
        raise ValueError("one of its pictures has no address")
    return OutputFile(url, role)


def seed_of(value: Any) -> str | None:
    """The seed as text, since fal's exceed 64 bits; None when it is no whole number of a sane length."""
    if isinstance(value, str):
        return value if value.isascii() and value.isdigit() and len(value) <= 40 else None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 128:
        return str(value)
    return None


def _flagged(flags: Any, index: int) -> bool:
    return isinstance(flags, list) and index < len(flags) and flags[index] is True


def _note(value: Any) -> str | None:
    return value.strip()[:2_000] or None if isinstance(value, str) else None
