"""BiRefNet v2: cuts the subject out of its background. It draws nothing, so it takes no seed and no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.catalog.pricing import SINCE
from app.catalog.shapes import file_of, pictures
from app.catalog.spec import Input, Model, Outputs, Pace, PriceRule, References, Role

_Variant = Literal[
    "General Use (Light)",
    "General Use (Light 2K)",
    "General Use (Heavy)",
    "General Use (Dynamic)",
    "Matting",
    "Portrait",
]


class BirefnetV2Input(Input):
    model: Annotated[_Variant, Field(description="Which set of weights to use.")] = "General Use (Light)"
    operating_resolution: Annotated[
        Literal["1024x1024", "2048x2048", "2304x2304"],
        Field(description="How finely it looks; 2304x2304 only with General Use (Dynamic)."),
    ] = "1024x1024"
    output_format: Annotated[Literal["png", "webp", "gif"], Field(description="File format of the cutout.")] = "png"
    output_mask: Annotated[bool, Field(description="Give the mask beside the cutout.")] = False
    mask_only: Annotated[bool, Field(description="Give the mask alone.")] = False
    refine_foreground: Annotated[bool, Field(description="Clean the colours along the edge.")] = True

    @model_validator(mode="after")
    def _finest_is_dynamic(self) -> BirefnetV2Input:
        if self.operating_resolution == "2304x2304" and self.model != "General Use (Dynamic)":
            raise PydanticCustomError("resolution", "Only General Use (Dynamic) takes 2304x2304")
        return self


def _cutout(body: Mapping[str, Any]) -> Outputs:
    """`image`, and the mask beside it or, when only the mask was asked for, perhaps instead of it."""
    mask = body.get("mask_image")
    if mask is None:
        return pictures(body)
    masks = (file_of(mask, "mask"),)
    if body.get("image") is None and body.get("images") is None:
        return Outputs(masks)
    outputs = pictures(body)
    return replace(outputs, files=outputs.files + masks)


MODEL = Model(
    id="fal-ai/birefnet/v2",
    title="BiRefNet v2",
    summary="Cuts the subject out of its background, with clean edges and transparency.",
    roles=frozenset({Role.CUTOUT}),
    input=BirefnetV2Input,
    references=References(("image_url",), least=1, most=1),
    price=PriceRule(
        credits_per_output=1,
        unit="compute seconds",
        micro_usd_per_unit=1_110,
        since=SINCE,
        source="0.00111 USD/s earlier; now listed as 0, which may be a placeholder [D]; two seconds assumed",
        units=lambda _asked, _pixels: Decimal(2),
        examples=({"output_mask": True},),
    ),
    parse=_cutout,
    pace=Pace(3, 10),
    takes_seed=False,
    example={"output_format": "png"},
)
