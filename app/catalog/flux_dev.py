"""FLUX.1 [dev]: careful pictures from a text, open weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.catalog.fields import Acceleration, Count, Guidance, JpegOrPng, Prompt, SafetyChecker, Seed
from app.catalog.pricing import FOUR, per_megapixel
from app.catalog.shapes import pictures
from app.catalog.sizes import FluxImageSize, pixels
from app.catalog.spec import Input, Model, Pace, References, Role


class FluxDevInput(Input):
    prompt: Prompt
    image_size: FluxImageSize = "landscape_4_3"
    num_images: Count = 1
    num_inference_steps: Annotated[
        int, Field(ge=1, le=50, title="Drawing steps", description="More is slower and finer.")
    ] = 28
    guidance_scale: Guidance = 3.5
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True
    output_format: JpegOrPng = "jpeg"
    acceleration: Acceleration = "none"


MODEL = Model(
    id="fal-ai/flux/dev",
    title="FLUX.1 [dev]",
    summary="Careful pictures from text in about eight seconds; steps and guidance can be tuned.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=FluxDevInput,
    references=References(),
    price=per_megapixel(
        2,
        25_000,
        "0.025 USD/MP, rounded up [D]",
        pixels=lambda asked, _: pixels(asked.image_size),
        examples=(FOUR, {"image_size": {"width": 2048, "height": 2048}}),
    ),
    parse=pictures,
    pace=Pace(8, 20),
    takes_seed=True,
    example={"prompt": "A ceramic mug with a hairline crack, macro photograph", "image_size": "landscape_4_3"},
)
