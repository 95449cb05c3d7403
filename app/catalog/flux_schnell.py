"""FLUX.1 [schnell]: the quickest and cheapest picture from a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.catalog.fields import Acceleration, Count, Guidance, JpegOrPng, Prompt, SafetyChecker, Seed
from app.catalog.pricing import FOUR, per_megapixel
from app.catalog.shapes import pictures
from app.catalog.sizes import FluxImageSize, pixels
from app.catalog.spec import Input, Model, Pace, References, Role


class FluxSchnellInput(Input):
    prompt: Prompt
    image_size: FluxImageSize = "landscape_4_3"
    num_images: Count = 1
    num_inference_steps: Annotated[
        int, Field(ge=1, le=12, title="Drawing steps", description="It is made for 1 to 4.")
    ] = 4
    guidance_scale: Guidance = 3.5
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True
    output_format: JpegOrPng = "jpeg"
    acceleration: Acceleration = "none"


MODEL = Model(
    id="fal-ai/flux/schnell",
    title="FLUX.1 [schnell]",
    summary="Pictures from text in about two seconds, at the lowest price: for drafts, tests and large numbers.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=FluxSchnellInput,
    references=References(),
    price=per_megapixel(
        1,
        3_000,
        "0.003 USD/MP, rounded up [T]",
        pixels=lambda asked, _: pixels(asked.image_size),
        examples=(FOUR, {"image_size": {"width": 2048, "height": 2048}}),
    ),
    parse=pictures,
    pace=Pace(2, 6),
    takes_seed=True,
    example={"prompt": "A brushed steel kettle on a white table, soft window light", "image_size": "square_hd"},
)
