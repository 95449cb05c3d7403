"""FLUX.1 [pro] Fill: redraws what a mask covers. The mask must have the size of the picture."""

from __future__ import annotations

from app.catalog.fields import Count, EnhancePrompt, JpegOrPng, Prompt, SafetyTolerance, Seed
from app.catalog.pricing import per_megapixel
from app.catalog.shapes import pictures
from app.catalog.spec import Input, Model, Pace, References, Role


class FluxProFillInput(Input):
    prompt: Prompt
    num_images: Count = 1
    seed: Seed | None = None
    output_format: JpegOrPng = "jpeg"
    safety_tolerance: SafetyTolerance = "2"
    enhance_prompt: EnhancePrompt = False


MODEL = Model(
    id="fal-ai/flux-pro/v1/fill",
    title="FLUX.1 [pro] Fill",
    summary="Redraws the white part of a mask as told in words; the mask is as large as the picture.",
    roles=frozenset({Role.INPAINT}),
    input=FluxProFillInput,
    references=References(("image_url", "mask_url"), least=2, most=2),
    price=per_megapixel(4, 50_000, "0.05 USD/MP of the picture [?]", pixels=lambda _, source_pixels: source_pixels),
    parse=pictures,
    pace=Pace(10, 30),
    takes_seed=True,
    example={"prompt": "A deep dent with cracked paint around it"},
)
