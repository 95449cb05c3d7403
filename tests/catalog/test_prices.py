import json
from typing import Any

import pytest

from app.catalog import MODELS, Catalog
from app.catalog.spec import Model, Price
from app.catalog.view import ModelView, describe

catalog = Catalog()

# model, changes to its example, credits, micro-USD, outputs
PRICES: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("flux/schnell", {}, 1, 3_000, 1),
    ("flux/schnell", {"num_images": 4, "image_size": "portrait_16_9"}, 4, 12_000, 4),
    ("flux/schnell", {"image_size": {"width": 1024, "height": 1025}}, 1, 6_000, 1),
    ("flux/dev", {"image_size": {"width": 2048, "height": 2048}}, 2, 100_000, 1),
    ("flux-pro/v1.1", {"num_images": 2}, 6, 80_000, 2),
    ("nano-banana", {"num_images": 3}, 9, 117_000, 3),
    ("nano-banana/edit", {}, 3, 39_000, 1),
    ("nano-banana-pro", {"resolution": "2K"}, 8, 150_000, 1),
    ("nano-banana-pro", {"resolution": "4K", "num_images": 2}, 32, 600_000, 2),
    ("nano-banana-pro/edit", {"enable_web_search": True}, 8, 165_000, 1),
    ("bytedance/seedream/v4/text-to-image", {"image_size": "auto_4K"}, 2, 30_000, 1),
    ("bytedance/seedream/v4/edit", {}, 2, 30_000, 1),
    ("bytedance/seedream/v4.5/text-to-image", {"num_images": 4}, 12, 160_000, 4),
    ("bytedance/seedream/v4.5/edit", {}, 3, 40_000, 1),
    ("flux-pro/kontext", {}, 3, 40_000, 1),
    ("flux-pro/v1/fill", {}, 4, 50_000, 1),
    ("birefnet/v2", {"output_mask": True}, 1, 2_220, 1),
    ("clarity-upscaler", {}, 2, 120_000, 1),
    ("clarity-upscaler", {"upscale_factor": 1.5}, 2, 90_000, 1),
]


@pytest.mark.parametrize(("name", "change", "credits", "micro_usd", "outputs"), PRICES)
def test_a_job_is_priced(name: str, change: dict[str, Any], credits: int, micro_usd: int, outputs: int) -> None:
    model = catalog.resolve(name)
    asked = model.input.model_validate({**model.example, **change})

    assert model.price(asked) == Price(credits, micro_usd, outputs)


def test_every_model_is_in_the_table() -> None:
    assert {catalog.resolve(row[0]).id for row in PRICES} == {model.id for model in MODELS}


def test_the_size_of_the_source_counts_where_it_is_billed() -> None:
    fill, clarity = catalog.resolve("inpaint"), catalog.resolve("upscale")

    assert fill.price(fill.input.model_validate(fill.example), 12_000_000).micro_usd == 12 * 50_000
    assert clarity.price(clarity.input.model_validate({"upscale_factor": 2}), 12_000_000).micro_usd == 46 * 30_000


def test_what_fal_billed_becomes_micro_usd() -> None:
    rule = catalog.resolve("flux/schnell").price

    assert rule.billed(2) == 6_000
    assert rule.billed(0) == 0
    assert rule.billed(0.1) == 300
    assert [rule.billed(odd) for odd in (None, -1, float("nan"), float("inf"), 1e30)] == [None] * 5


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_model_can_be_shown(model: Model) -> None:
    shown = json.loads(describe(model).model_dump_json())

    assert ModelView.model_validate(shown).id == model.id
    assert shown["price"]["since"] == "2026-11-20"
    assert shown["price"]["examples"][0]["input"] == dict(model.example)
    assert shown["price"]["examples"][0]["credits"] == model.price.credits_per_output
    assert len(shown["price"]["examples"]) == 1 + len(model.price.examples)
    assert shown["input_schema"]["additionalProperties"] is False
