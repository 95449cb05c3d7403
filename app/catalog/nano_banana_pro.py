"""Nano Banana Pro (Gemini 3 Pro Image): pictures from a text up to 4K, with legible lettering."""

from __future__ import annotations

from decimal import Decimal

from app.catalog.fields import Count, LongPrompt, PngJpegOrWebp, SafetyTolerance, Seed, SystemPrompt, WebSearch
from app.catalog.pricing import FOUR, per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import BananaRatio, BananaResolution
from app.catalog.spec import Input, Model, Pace, References, Role


class NanoBananaProInput(Input):
    prompt: LongPrompt
    num_images: Count = 1
    aspect_ratio: BananaRatio = "1:1"
    output_format: PngJpegOrWebp = "png"
    safety_tolerance: SafetyTolerance = "4"
    seed: Seed | None = None
    resolution: BananaResolution = "1K"
    enable_web_search: WebSearch = False
    system_prompt: SystemPrompt = ""


def _weight(asked: NanoBananaProInput) -> int:
    return 2 if asked.resolution == "4K" else 1


def _units(asked: NanoBananaProInput) -> Decimal:
    """Counted per picture, though fal may count a search once per request: a quote is never too low."""
    return _weight(asked) + Decimal("0.1" if asked.enable_web_search else 0)


MODEL = Model(
    id="fal-ai/nano-banana-pro",
    title="Nano Banana Pro",
    summary="Pictures from text up to 4K by Gemini 3 Pro Image, with legible lettering.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=NanoBananaProInput,
    references=References(),
    price=per_image(
        8,
        150_000,
        "0.15 USD/image, double at 4K, web search 0.015 USD more [D]",
        units=_units,
        weight=_weight,
        examples=(FOUR, {"resolution": "4K"}),
    ),
    parse=pictures,
    pace=Pace(25, 60),
    takes_seed=True,
    example={"prompt": "A poster that reads OPEN HOUSE in bold red letters", "resolution": "2K"},
)
