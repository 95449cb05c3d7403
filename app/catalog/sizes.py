"""The sizes a picture can be asked for: fal's presets, or a width and a height within a model's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

Preset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]

PRESETS: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


class Size(BaseModel):
    """A width and a height in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    width: int
    height: int


class FluxSize(Size):
    """A width and a height in pixels, 64 to 2048 each."""

    # Ours: fal's schema names no bounds for the open FLUX models, but beyond these they no longer draw well.
    width: int = Field(ge=64, le=2048, description="Width in pixels.")
    height: int = Field(ge=64, le=2048, description="Height in pixels.")


def _form(value: Any) -> str:
    return "preset" if isinstance(value, str) else "custom"


BY_FORM = Discriminator(_form)
"""A text is a preset, anything else is measured: so that a wrong size gives one error, not one per form."""

FluxImageSize = Annotated[
    Annotated[Preset, Tag("preset")] | Annotated[FluxSize, Tag("custom")],
    BY_FORM,
    Field(description="A preset, or width and height in pixels (64 to 2048)."),
]


class SeedreamV4Size(Size):
    """A width and a height in pixels, 960 to 4096 each."""

    width: int = Field(ge=960, le=4096, description="Width in pixels.")
    height: int = Field(ge=960, le=4096, description="Height in pixels.")


class SeedreamV45Size(Size):
    """A width and a height in pixels: 1920 to 4096 each, or 2560 x 1440 to 4096 x 4096 pixels in all."""

    width: int = Field(ge=256, le=16_384, description="Width in pixels.")
    height: int = Field(ge=256, le=16_384, description="Height in pixels.")

    @model_validator(mode="after")
    def _large_enough(self) -> SeedreamV45Size:
        each = min(self.width, self.height) >= 1920 and max(self.width, self.height) <= 4096
        if not each and not 2560 * 1440 <= self.width * self.height <= 4096 * 4096:
            words = "Each side should be 1920 to 4096, or the whole 2560 x 1440 to 4096 x 4096 pixels"
            raise PydanticCustomError("area", words)
        return self


SeedreamV4ImageSize = Annotated[
    Annotated[Preset | Literal["auto", "auto_2K", "auto_4K"], Tag("preset")] | Annotated[SeedreamV4Size, Tag("custom")],
    BY_FORM,
    Field(description="A preset, or width and height in pixels (960 to 4096). The model chooses when left out."),
]
SeedreamV45ImageSize = Annotated[
    Annotated[Preset | Literal["auto_2K", "auto_4K"], Tag("preset")] | Annotated[SeedreamV45Size, Tag("custom")],
    BY_FORM,
    Field(
        description="A preset, or width and height in pixels (1920 to 4096 each). Small presets are scaled up by fal."
    ),
]

BananaRatio = Annotated[
    Literal["21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16"],
    Field(description="Width to height of the picture."),
]
BananaEditRatio = Annotated[
    Literal["auto", "21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16"],
    Field(description="Width to height of the picture; auto follows the reference."),
]
BananaResolution = Annotated[
    Literal["1K", "2K", "4K"], Field(description="How large the picture is; 4K costs twice as much.")
]
KontextRatio = Annotated[
    Literal["21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"],
    Field(description="Width to height of the picture; that of the reference when left out."),
]


def pixels(size: str | Size) -> int:
    """How many pixels a picture of that size has."""
    width, height = PRESETS[size] if isinstance(size, str) else (size.width, size.height)
    return width * height
