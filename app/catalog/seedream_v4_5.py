"""Seedream 4.5 by ByteDance: large pictures from a text, never small ones."""

from __future__ import annotations

from app.catalog.fields import Count, Prompt, SafetyChecker, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import SeedreamV45ImageSize
from app.catalog.spec import Input, Model, Pace, References, Role


class SeedreamV45Input(Input):
    prompt: Prompt
    image_size: SeedreamV45ImageSize | None = None
    num_images: Count = 1
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True


MODEL = Model(
    id="fal-ai/bytedance/seedream/v4.5/text-to-image",
    title="Seedream 4.5",
    summary="Large pictures from text with finer lettering and detail, 2K to 4K.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=SeedreamV45Input,
    references=References(),
    price=per_image(3, 40_000, "0.04 USD/image [T]"),
    parse=pictures,
    pace=Pace(13, 40),
    takes_seed=True,
    example={"prompt": "Packaging for a herbal tea, botanical line art", "image_size": "auto_2K"},
)
