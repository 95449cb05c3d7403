"""The two ways fal bills for pictures, as price rules: by the piece, and by the megapixel. Figures are from `fal.md`
section 5 with its evidence marks: [D] fal's own pages, [T] one observer, [?] unsure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from app.catalog.spec import USUAL_PIXELS, PriceRule

SINCE = date(2026, 11, 20)
"""The day the figures were collected."""

FOUR = {"num_images": 4}


def per_image(
    credits: int,
    micro_usd: int,
    source: str,
    *,
    units: Callable[[Any], Decimal] = lambda _: Decimal(1),
    weight: Callable[[Any], int] = lambda _: 1,
    examples: tuple[Mapping[str, Any], ...] = (FOUR,),
) -> PriceRule:
    return PriceRule(
        credits, "images", micro_usd, SINCE, source, lambda asked, _: units(asked), weight=weight, examples=examples
    )


def per_megapixel(
    credits: int,
    micro_usd: int,
    source: str,
    *,
    pixels: Callable[[Any, int], int],
    examples: tuple[Mapping[str, Any], ...] = (FOUR,),
) -> PriceRule:
    """`pixels` tells the size of one output from the input and the source picture's pixels."""
    return PriceRule(
        credits,
        "megapixels",
        micro_usd,
        SINCE,
        source,
        lambda asked, source_pixels: megapixels(pixels(asked, source_pixels)),
        examples=examples,
    )


def megapixels(pixels: int) -> Decimal:
    """Rounded up per picture, as fal does; 1024 x 1024 is one."""
    return Decimal(max(1, -(-pixels // USUAL_PIXELS)))
