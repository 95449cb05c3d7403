"""FLUX.1 Kontext [pro]: changes one picture as told, keeping characters and style."""

from __future__ import annotations

from app.catalog.fields import Count, EnhancePrompt, Guidance, JpegOrPng, Prompt, SafetyTolerance, Seed
from app.catalog.pricing import per_image
from app.catalog.shapes import pictures
from app.catalog.sizes import KontextRatio
from app.catalog.spec import Input, Model, Pace, References, Role


class FluxProKontextInput(Input):
    prompt: Prompt
    aspect_ratio: KontextRatio | None = None
    guidance_scale: Guidance = 3.5
    num_images: Count = 1
    seed: Seed | None = None
    output_format: JpegOrPng = "jpeg"
    safety_tolerance: SafetyTolerance = "2"
    enhance_prompt: EnhancePrompt = False


MODEL = Model(
    id="fal-ai/flux-pro/kontext",
    title="FLUX.1 Kontext [pro]",
    summary="Changes one picture as told in words while keeping its subject and style.",
    roles=frozenset({Role.IMAGE_TO_IMAGE}),
    input=FluxProKontextInput,
    references=References(("image_url",), least=1, most=1),
    price=per_image(3, 40_000, "0.04 USD/image [D]"),
    parse=pictures,
    pace=Pace(9, 25),
    takes_seed=True,
    example={"prompt": "Make the sky overcast, keep everything else"},
)
