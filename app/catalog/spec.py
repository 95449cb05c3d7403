"""What the service knows of one fal model: how to ask it, what it answers, what it costs. One file per model fills in
one `Model`; facts are from `fal.md` section 5 and the model's page at fal."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Role(StrEnum):
    """What a caller wants done, when it does not care which model does it."""

    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    INPAINT = "inpaint"
    CUTOUT = "cutout"
    UPSCALE = "upscale"


class Input(BaseModel):
    """Base of every model's typed input: what a caller may send, references left out. Unknown fields are refused, and
    values of another JSON type than the schema names. Dumping it with `exclude_unset=True` gives the arguments to send;
    defaults are fal's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True)
class References:
    """How a model takes pictures. `fields` names one argument per picture (`image_url`, then `mask_url`), or a single
    list argument when `many` (`image_urls`)."""

    fields: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    many: bool = False

    @property
    def sent_as(self) -> Mapping[str, str]:
        """What the caller calls each of those fields."""
        if len(self.fields) == 1:
            return {self.fields[0]: "reference_images"}
        return {name: f"reference_images.{n}" for n, name in enumerate(self.fields)}

    def arguments(self, urls: Sequence[str]) -> dict[str, Any]:
        """The arguments that carry these URLs, in the order the caller gave them."""
        if self.many:
            return {self.fields[0]: list(urls)} if urls else {}
        return dict(zip(self.fields, urls, strict=False))


@dataclass(frozen=True)
class Price:
    """What one job will cost: credits to hold for the caller, micro-USD we expect fal to bill, pictures it makes."""

    credits: int
    micro_usd: int
    outputs: int


USUAL_PIXELS = 1024 * 1024
"""The size a source picture is taken to have where nobody has measured it. One megapixel in fal's sense."""


@dataclass(frozen=True)
class PriceRule:
    """What a model costs since a day, as data. Calling it prices one job; `billed` prices what fal says it used.

    `unit` is fal's word for what it bills. `units` counts those of one output from the input and the pixels of the
    source picture; `weight` says how many times an output counts in credits. `source` is where the figure is from, and
    how sure it is. `examples` are changes to the model's own example whose price is worth showing."""

    credits_per_output: int
    unit: str
    micro_usd_per_unit: int
    since: date
    source: str
    units: Callable[[Any, int], Decimal]
    weight: Callable[[Any], int] = lambda _: 1
    examples: tuple[Mapping[str, Any], ...] = ()

    def __call__(self, input: Any, source_pixels: int = USUAL_PIXELS) -> Price:
        """`source_pixels` matters for models that are billed by the size of the picture they are given."""
        outputs = getattr(input, "num_images", 1)
        return Price(
            credits=self.credits_per_output * self.weight(input) * outputs,
            micro_usd=math.ceil(self.units(input, source_pixels) * outputs * self.micro_usd_per_unit),
            outputs=outputs,
        )

    def billed(self, units: float | None) -> int | None:
        """What fal says it billed, in micro-USD; None when it named no units, or a number no bill can hold."""
        if units is None or not 0 <= units <= 1_000_000:  # NaN compares false
            return None
        return math.ceil(Decimal(str(units)) * self.micro_usd_per_unit)


@dataclass(frozen=True)
class OutputFile:
    """One file the model made. Only `url` can be relied on; sizes are measured after the download."""

    url: str
    role: str = "image"


@dataclass(frozen=True)
class Outputs:
    """What a good answer holds. `seed` is text: seeds can exceed 64 bits. `blocked` marks pictures fal blacked out."""

    files: tuple[OutputFile, ...]
    seed: str | None = None
    note: str | None = None
    blocked: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Pace:
    """Seconds a run usually takes at fal: the median and the 95th percentile. They time the first look and the ETA."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Model:
    """`id` is fal's endpoint id and ours. `parse` reads a good answer's JSON and raises ValueError when it is not of
    the documented shape; its words never quote the answer."""

    id: str
    title: str
    summary: str
    roles: frozenset[Role]
    input: type[Input]
    references: References
    price: PriceRule
    parse: Callable[[Mapping[str, Any]], Outputs]
    pace: Pace
    takes_seed: bool
    example: Mapping[str, Any]
    source: str = "fal.md section 5"

    def arguments(self, input: Input, reference_urls: Sequence[str], seed: str | None = None) -> dict[str, Any]:
        """The exact JSON to send. Only what the caller set is sent, so fal's own defaults stay fal's. `seed` is the one
        chosen for a caller who gave none (`chosen_seed`); seeds travel as numbers, however large."""
        arguments = input.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        arguments |= self.references.arguments(reference_urls)
        asked = arguments.pop("seed", seed)
        return arguments | {"seed": int(asked)} if self.takes_seed and asked is not None else arguments

    def chosen_seed(self, input: Input, rng: random.Random) -> str | None:
        """A seed for a caller who gave none: it makes the input unlike any other, so that a request whose answer
        was lost can be found in fal's list. Below 2^31, which every model takes."""
        given = getattr(input, "seed", None)
        return str(rng.randrange(2**31)) if self.takes_seed and given is None else given
