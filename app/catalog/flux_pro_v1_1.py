"""FLUX1.1 [pro]: Black Forest Labs' hosted model for polished pictures from a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from app.catalog.fields import Count, EnhancePrompt, JpegOrPng, Prompt, SafetyTolerance, Seed
from app.catalog.pricing import per_megapixel
from app.catalog.shapes import pictures
from app.catalog.sizes import BY_FORM, Preset, Size, pixels
from app.catalog.spec import Input, Model, Pace, References, Role


class FluxProSize(Size):
    """A width and a height in pixels: 256 to 1440 each, in steps of 32."""

    # The bounds of the model behind the endpoint; fal's schema names none.
    width: int = Field(ge=256, le=1440, multiple_of=32, description="Width in pixels.")
    height: int = Field(ge=256, le=1440, multiple_of=32, description="Height in pixels.")


ImageSize = Annotated[
    Annotated[Preset, Tag("preset")] | Annotated[FluxProSize, Tag("custom")],
    BY_FORM,
    Field(description="A preset, or width and height in pixels (256 to 1440, in steps of 32)."),
]


class FluxProInput(Input):
    prompt: Prompt
    image_size: ImageSize = "landscape_4_3"
    num_images: Count = 1
    seed: Seed | None = None
    output_format: JpegOrPng = "jpeg"
    safety_tolerance: SafetyTolerance = "2"
    enhance_prompt: EnhancePrompt = False


MODEL = Model(
    id="fal-ai/flux-pro/v1.1",
    title="FLUX1.1 [pro]",
    summary="Polished pictures from text that follow the prompt closely.",
    roles=frozenset({Role.TEXT_TO_IMAGE}),
    input=FluxProInput,
    references=References(),
    price=per_megapixel(3, 40_000, "0.04 USD/MP, rounded up [T]", pixels=lambda asked, _: pixels(asked.image_size)),
    parse=pictures,
    pace=Pace(8, 20),
    takes_seed=True,
    example={"prompt": "Studio photograph of a leather hiking boot on slate", "image_size": "portrait_4_3"},
)
