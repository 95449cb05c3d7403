"""Nano Banana (Gemini 2.5 Flash Image): pictures from a text. It answers with no seed, and a description in words."""

from __future__ import annotations

from app.catalog.fields import Count, LongPrompt, PngJpegOrWebp, SafetyTolerance, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import BananaRatio
from app.catalog.spec import Input, Model, Pace, References, Role


class NanoBananaInput(Input):
    prompt: LongPrompt
    num_images: Count = 1
    aspect_ratio: BananaRatio = "1:1"
    output_format: PngJpegOrWebp = "png"
    safety_tolerance: SafetyTolerance = "4"
    seed: Seed | None = None


MODEL = Model(
    id="fal-ai/nano-banana",
    title="Nano Banana",
    summary="Pictures from text by Gemini 2.5 Flash Image, which understands long descriptions.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=NanoBananaInput,
    references=References(),
    price=per_image(3, 39_000, "0.039 USD/image [T]"),
    parse=pictures,
    pace=Pace(10, 30),
    takes_seed=True,
    example={"prompt": "A field jacket laid flat, waxed cotton, four pockets, on white", "aspect_ratio": "4:3"},
)
