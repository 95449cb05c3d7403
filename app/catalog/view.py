"""A model as a caller sees it: what it takes, what it costs, how long it takes."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.catalog.spec import Model, Role


class ReferencesView(BaseModel):
    """How many reference pictures the model takes, and under which names it gets them."""

    least: int
    most: int
    fields: list[str]


class PriceExample(BaseModel):
    """What one job with this input costs."""

    input: dict[str, Any]
    outputs: int
    credits: int
    micro_usd: int


class PriceView(BaseModel):
    """What the model costs: credits for the caller, micro-USD that fal is expected to bill."""

    credits_per_output: int
    unit: str = Field(description="What fal bills by.", examples=["images"])
    micro_usd_per_unit: int
    since: date
    source: str = Field(description="Where the figure is from: [D] fal's own pages, [T] one observer, [?] unsure.")
    examples: list[PriceExample]


class PaceView(BaseModel):
    """Seconds a run usually takes at fal: the median and the 95th percentile."""

    p50: float
    p95: float


class ModelView(BaseModel):
    model_config = ConfigDict(title="Model")

    id: str = Field(examples=["fal-ai/flux/schnell"])
    title: str
    summary: str
    roles: list[Role]
    references: ReferencesView
    input_schema: dict[str, Any] = Field(description="JSON Schema of the `input` a job for this model takes.")
    price: PriceView
    pace: PaceView
    takes_seed: bool
    example: dict[str, Any] = Field(description="An `input` to begin with.")


def describe(model: Model) -> ModelView:
    references = model.references
    return ModelView(
        id=model.id,
        title=model.title,
        summary=model.summary,
        roles=sorted(model.roles),
        references=ReferencesView(least=references.least, most=references.most, fields=list(references.fields)),
        input_schema=model.input.model_json_schema(),
        price=_price(model),
        pace=PaceView(p50=model.pace.p50, p95=model.pace.p95),
        takes_seed=model.takes_seed,
        example=dict(model.example),
    )


def _price(model: Model) -> PriceView:
    rule = model.price
    return PriceView(
        credits_per_output=rule.credits_per_output,
        unit=rule.unit,
        micro_usd_per_unit=rule.micro_usd_per_unit,
        since=rule.since,
        source=rule.source,
        examples=[_example(model, {**model.example, **change}) for change in ({}, *rule.examples)],
    )


def _example(model: Model, given: dict[str, Any]) -> PriceExample:
    price = model.price(model.input.model_validate(given))
    return PriceExample(input=given, outputs=price.outputs, credits=price.credits, micro_usd=price.micro_usd)
