"""Input fields that several models have in common, with their limits and the words that explain them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_SEED = 2**64 - 1

# At least one visible character, and no NUL: PostgreSQL cannot keep one.
_READABLE = r"^[^\x00]*[^\s\x00][^\x00]*$"

Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=5_000,  # ours: fal names no limit, and what these models read ends long before
        pattern=_READABLE,
        description="What the picture should show.",
        examples=["A brushed steel kettle on a white table, soft window light"],
    ),
]
LongPrompt = Annotated[
    str,
    Field(
        min_length=3,
        max_length=50_000,  # fal's own limits for the nano-banana family
        pattern=_READABLE,
        description="What the picture should show, or what should change in the references.",
        examples=["The same kettle with a fine scratch across the lid"],
    ),
]
OptionalText = Annotated[str, Field(max_length=5_000, pattern=r"^[^\x00]*$")]

Count = Annotated[int, Field(ge=1, le=4, title="How many", description="How many pictures to make; each is paid for.")]
Guidance = Annotated[float, Field(ge=1, le=20, description="How closely to keep to the prompt.")]
SafetyChecker = Annotated[bool, Field(description="Black out pictures that the safety checker flags.")]
SafetyTolerance = Annotated[
    Literal["1", "2", "3", "4", "5", "6"],
    Field(description="How much the safety filter lets pass: from 1, the strictest, to 6, the most lenient."),
]
WebSearch = Annotated[bool, Field(description="Let the model look things up on the web; it costs a little more.")]
SystemPrompt = Annotated[OptionalText, Field(description="Standing instructions on manner and style.")]
EnhanceMode = Annotated[
    Literal["standard", "fast"], Field(description="How the model rewrites the prompt: standard is slower and better.")
]
EnhancePrompt = Annotated[bool, Field(description="Let the model rewrite the prompt before it draws.")]
JpegOrPng = Annotated[Literal["jpeg", "png"], Field(description="File format of the pictures.")]
PngJpegOrWebp = Annotated[Literal["png", "jpeg", "webp"], Field(description="File format of the pictures.")]
Acceleration = Annotated[Literal["none", "regular", "high"], Field(description="Speed bought with some quality.")]


def _seed_text(value: object) -> str:
    """A whole number or its digits, as canonical text: seeds exceed 64-bit columns and what JavaScript can count."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
        words = "Should be a whole number from 0 to {most}, or its digits as text"
        raise PydanticCustomError("seed", words, {"most": MAX_SEED})
    return str(value)


Seed = Annotated[
    str,
    BeforeValidator(_seed_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
                {"type": "string", "pattern": "^[0-9]{1,19}$"},
                {"type": "string", "pattern": "^1[0-7][0-9]{18}$"},
            ],
            "description": "The same seed, prompt and model give the same picture; one is chosen when none is given.",
            "examples": [7, "17454220438242315174"],
        }
    ),
]
