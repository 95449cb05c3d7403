"""Seedream 4.5 with references: changes or combines up to ten pictures, never to small ones."""

from __future__ import annotations

from app.catalog.fields import Count, Prompt, SafetyChecker, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import SeedreamV45ImageSize
from app.catalog.spec import Input, Model, Pace, References, Role


class SeedreamV45EditInput(Input):
    prompt: Prompt
    image_size: SeedreamV45ImageSize | None = None
    num_images: Count = 1
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True


MODEL = Model(
    id="fal-ai/bytedance/seedream/v4.5/edit",
    title="Seedream 4.5, edit",
    summary="Changes or combines up to ten pictures as told in words, 2K to 4K.",
    roles=frozenset({Role.IMAGE_TO_IMAGE}),
    input=SeedreamV45EditInput,
    # Given more than 10, fal silently drops the first ones.
    references=References(("image_urls",), least=1, most=10, many=True),
    price=per_image(3, 40_000, "0.04 USD/image [T]"),
    parse=pictures,
    pace=Pace(13, 40),
    takes_seed=True,
    example={"prompt": "The same chair in dark walnut, side view", "image_size": "auto_2K"},
)
