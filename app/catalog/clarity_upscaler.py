"""Clarity: enlarges a picture and draws in finer detail. Billed by the megapixels that come out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.catalog.fields import OptionalText, SafetyChecker, Seed
from app.catalog.pricing import per_megapixel
from app.catalog.shapes import pictures
from app.catalog.spec import Input, Model, Pace, References, Role


class ClarityUpscalerInput(Input):
    prompt: Annotated[OptionalText, Field(description="What the picture shows.")] = "masterpiece, best quality, highres"
    upscale_factor: Annotated[float, Field(ge=1, le=4, description="How many times wider and higher.")] = 2
    creativity: Annotated[float, Field(ge=0, le=1, description="How far the new detail may stray.")] = 0.35
    resemblance: Annotated[float, Field(ge=0, le=1, description="How closely to keep to the original.")] = 0.6
    seed: Seed | None = None
    enable_safety_checker: SafetyChecker = True


def _pixels(asked: ClarityUpscalerInput, source_pixels: int) -> int:
    return round(source_pixels * asked.upscale_factor**2)


MODEL = Model(
    id="fal-ai/clarity-upscaler",
    title="Clarity upscaler",
    summary="Enlarges a picture up to four times each way and draws in finer detail.",
    roles=frozenset({Role.UPSCALE}),
    input=ClarityUpscalerInput,
    references=References(("image_url",), least=1, most=1),
    price=per_megapixel(2, 30_000, "0.03 USD/MP that comes out [D]", pixels=_pixels, examples=({"upscale_factor": 4},)),
    parse=pictures,
    pace=Pace(25, 90),
    takes_seed=True,
    example={"upscale_factor": 2},
)
