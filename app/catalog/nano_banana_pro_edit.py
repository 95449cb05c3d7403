"""Nano Banana Pro with references: changes and combines pictures as told, up to 4K."""

from __future__ import annotations

from decimal import Decimal

from app.catalog.fields import Count, LongPrompt, PngJpegOrWebp, SafetyTolerance, Seed, SystemPrompt, WebSearch
from app.catalog.pricing import FOUR, per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import BananaEditRatio, BananaResolution
from app.catalog.spec import Input, Model, Pace, References, Role


class NanoBananaProEditInput(Input):
    prompt: LongPrompt
    num_images: Count = 1
    aspect_ratio: BananaEditRatio = "auto"
    output_format: PngJpegOrWebp = "png"
    safety_tolerance: SafetyTolerance = "4"
    seed: Seed | None = None
    resolution: BananaResolution = "1K"
    enable_web_search: WebSearch = False
    system_prompt: SystemPrompt = ""


def _weight(asked: NanoBananaProEditInput) -> int:
    return 2 if asked.resolution == "4K" else 1


def _units(asked: NanoBananaProEditInput) -> Decimal:
    """Counted per picture, though fal may count a search once per request: a quote is never too low."""
    return _weight(asked) + Decimal("0.1" if asked.enable_web_search else 0)


MODEL = Model(
    id="fal-ai/nano-banana-pro/edit",
    title="Nano Banana Pro, edit",
    summary="Changes and combines up to 14 pictures as told in words, up to 4K.",
    roles=frozenset({Role.IMAGE_TO_IMAGE}),
    input=NanoBananaProEditInput,
    # fal names no limit; the model behind it reads up to 14.
    references=References(("image_urls",), least=1, most=14, many=True),
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
    example={"prompt": "The same jacket seen from behind, same light", "resolution": "1K"},
)
