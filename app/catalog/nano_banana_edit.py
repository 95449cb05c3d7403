"""Nano Banana with references: changes one or more pictures as told, keeping what is not mentioned."""

from __future__ import annotations

from app.catalog.fields import Count, LongPrompt, PngJpegOrWebp, SafetyTolerance, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import BananaEditRatio
from app.catalog.spec import Input, Model, Pace, References, Role


class NanoBananaEditInput(Input):
    prompt: LongPrompt
    num_images: Count = 1
    aspect_ratio: BananaEditRatio = "auto"
    output_format: PngJpegOrWebp = "png"
    safety_tolerance: SafetyTolerance = "4"
    seed: Seed | None = None


MODEL = Model(
    id="fal-ai/nano-banana/edit",
    title="Nano Banana, edit",
    summary="Changes pictures as told in words, and keeps the rest of them as it was.",
    roles=frozenset({Role.IMAGE_TO_IMAGE}),
    input=NanoBananaEditInput,
    # fal names no limit; more than 10 no longer help.
    references=References(("image_urls",), least=1, most=10, many=True),
    price=per_image(3, 39_000, "0.039 USD/image [T], as without references"),
    parse=pictures,
    pace=Pace(10, 30),
    takes_seed=True,
    example={"prompt": "The same part with a thin scratch across the upper left edge"},
)
