"""How large the answer is, and how much of it is billed."""

import math

from app.sandbox.fal.catalogue import Model
from app.sandbox.fal.inputs import PRESETS, RATIOS, Input
from app.sandbox.pictures.values import Picture

AUTO = {"auto": (2048, 2048), "auto_2K": (2048, 2048), "auto_4K": (4096, 4096)}
TIMES = {"1K": 1, "2K": 2, "4K": 4}


def size_of(given: Input) -> tuple[int, int] | None:
    """None: as large as the reference."""
    wanted = getattr(given, "image_size", None)
    if wanted is not None:
        if isinstance(wanted, str):
            if wanted in AUTO:
                return None if given.references() else AUTO[wanted]
            return PRESETS[wanted]
        return wanted.width, wanted.height
    ratio = getattr(given, "aspect_ratio", None)
    if ratio in RATIOS:
        width, height = RATIOS[ratio]
        times = TIMES[getattr(given, "resolution", "1K")]
        return width * times, height * times
    return None


def units_of(model: Model, given: Input, pictures: list[Picture], seconds: float) -> float:
    if model.unit == "megapixels":  # rounded up
        return float(sum(math.ceil(picture.width * picture.height / 1_000_000) for picture in pictures))
    if model.unit == "compute seconds":
        return seconds
    each = 2.0 if getattr(given, "resolution", "1K") == "4K" else 1.0
    return each * len(pictures) + (0.1 if getattr(given, "enable_web_search", False) else 0.0)
