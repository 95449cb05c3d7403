"""Seedream 4 by ByteDance: large pictures from a text at one price, whatever their size."""

from __future__ import annotations

from app.catalog.fields import Count, EnhanceMode, Prompt, SafetyChecker, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import SeedreamV4ImageSize
from app.catalog.spec import Input, Model, Pace, References, Role


class SeedreamV4Input(Input):
    prompt: Prompt
    image_size: SeedreamV4ImageSize | None = None
    num_images: Count = 1
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True
    enhance_prompt_mode: EnhanceMode = "standard"


MODEL = Model(
    id="fal-ai/bytedance/seedream/v4/text-to-image",
    title="Seedream 4",
    summary="Large pictures from text, up to 4K, at a flat price.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=SeedreamV4Input,
    references=References(),
    price=per_image(2, 30_000, "0.03 USD/image [T]"),
    parse=pictures,
    pace=Pace(12, 35),
    takes_seed=True,
    example={"prompt": "Aerial view of a harbour at dawn, fine detail", "image_size": "auto_2K"},
)
