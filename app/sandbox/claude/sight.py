"""Looks at a picture: its size, its colours, and whether the sandbox painted it, with what and where.

A picture comes back cut, shrunk or re-encoded, so it is known by its looks when its bytes are not known.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.sandbox.log import Log
from app.sandbox.pictures.colours import hex_of, name_of

if TYPE_CHECKING:
    from PIL import Image

NEAR, ALIKE = 12, 4.0


@dataclass(frozen=True)
class Known:
    """What the log says of a picture: boxes are shares of its width and height."""

    prompt: str
    model: str
    boxes: list[tuple[str, float, float, float, float]]


@dataclass(frozen=True)
class Sight:
    width: int
    height: int
    colours: list[tuple[str, str, float]] = field(default_factory=list)  # name, hex, share
    known: Known | None = None


def look(data: bytes, log: Log) -> Sight:
    """Raises OSError when it is no picture."""
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    size = image.size
    flat = image.convert("RGB")
    return Sight(*size, _colours(flat), _known(data, image, flat, log))


def _colours(flat: "Image.Image") -> list[tuple[str, str, float]]:
    small = flat.resize((64, 64))
    few = small.quantize(6)
    palette = few.getpalette() or []
    shares: dict[str, tuple[str, float]] = {}
    counts = few.histogram()
    for index in sorted(range(len(palette) // 3), key=lambda at: -counts[at]):
        count, rgb = counts[index], (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        name, share = name_of(rgb), count / 4096
        first, sum_so_far = shares.get(name, (hex_of(rgb), 0.0))
        shares[name] = (first, sum_so_far + share)
    found = [(name, code, round(share, 3)) for name, (code, share) in shares.items()]
    return sorted(found, key=lambda one: -one[2])


def _known(data: bytes, image: "Image.Image", flat: "Image.Image", log: Log) -> Known | None:
    from app.sandbox.pictures.painter import likeness, thumb

    sha = hashlib.sha256(data).hexdigest()
    found = log.rows("SELECT * FROM pictures WHERE sha256 = ?", sha)
    if not found:
        mine, print_ = bytes.fromhex(thumb(flat)), int(likeness(flat), 16)
        near = [
            (sum(abs(a - b) for a, b in zip(mine, bytes.fromhex(row["thumb"]), strict=True)) / len(mine), row)
            for row in log.rows("SELECT * FROM pictures")
            if (int(row["likeness"], 16) ^ print_).bit_count() <= NEAR
        ]
        found = [row for distance, row in sorted(near, key=lambda one: one[0]) if distance < ALIKE]
    if found:
        return _recorded(found[0], log)
    return _told_by_itself(image)


def _recorded(row: dict[str, Any], log: Log) -> Known:
    boxes = [
        (
            box["name"],
            box["x"] / box["width"],
            box["y"] / box["height"],
            box["w"] / box["width"],
            box["h"] / box["height"],
        )
        for box in log.rows("SELECT * FROM boxes WHERE sha256 = ? ORDER BY rowid", row["sha256"])
    ]
    return Known(row["prompt"], row["model"], list(dict.fromkeys(boxes)))


def _told_by_itself(image: "Image.Image") -> Known | None:
    """A picture of another sandbox still says in its metadata what it is."""
    try:
        facts = json.loads(image.getexif().get(0x010E) or "{}")
    except (ValueError, OSError, SyntaxError):
        return None
    if not isinstance(facts, dict) or not facts.get("sandbox"):
        return None
    return Known(str(facts.get("prompt", "")), str(facts.get("model", "")), [])
