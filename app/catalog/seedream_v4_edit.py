"""Seedream 4 with references: changes or combines up to ten pictures as told."""

from __future__ import annotations

from app.catalog.fields import Count, EnhanceMode, Prompt, SafetyChecker, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import SeedreamV4ImageSize
from app.catalog.spec import Input, Model, Pace, References, Role


class SeedreamV4EditInput(Input):
    prompt: Prompt
    image_size: SeedreamV4ImageSize | None = None
    num_images: Count = 1
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True
    enhance_prompt_mode: EnhanceMode = "standard"


MODEL = Model(
    id="fal-ai/bytedance/seedream/v4/edit",
    title="Seedream 4, edit",
    summary="Changes or combines up to ten pictures as told in words, up to 4K.",
    roles=frozenset({Role.IMAGE_TO_IMAGE}),
    input=SeedreamV4EditInput,
    # Given more than 10, fal silently drops the first ones.
    references=References(("image_urls",), least=1, most=10, many=True),
    price=per_image(2, 30_000, "0.03 USD/image [T]"),
    parse=pictures,
    pace=Pace(12, 35),
    takes_seed=True,
    example={"prompt": "Put the bottle from the first picture on the table of the second", "image_size": "auto"},
)
