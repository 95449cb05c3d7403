"""What each model takes: limits, names of what is wrong, and the exact JSON that is sent."""

import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.catalog import MODELS, Catalog
from app.catalog.reading import read_input
from app.catalog.spec import Model
from app.core.errors import InvalidRequest

catalog = Catalog()
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)

NANO = ["nano-banana", "nano-banana/edit", "nano-banana-pro", "nano-banana-pro/edit"]
SEEDREAM = [f"bytedance/seedream/{version}/{way}" for version in ("v4", "v4.5") for way in ("text-to-image", "edit")]
FLUX = ["flux/schnell", "flux/dev"]
PRO = ["flux-pro/v1.1", "flux-pro/kontext", "flux-pro/v1/fill"]
PROMPTED = [*FLUX, *PRO, *NANO, *SEEDREAM]

TAKEN: list[tuple[list[str], str, list[Any]]] = [
    (PROMPTED, "num_images", [1, 4]),
    (NANO, "prompt", ["abc", "x" * 50_000]),
    ([*FLUX, *PRO, *SEEDREAM], "prompt", ["x", "x" * 5_000, "😀" * 5_000, "line\nline"]),
    ([*PRO, *NANO], "safety_tolerance", ["1", "6"]),
    (["flux/schnell"], "num_inference_steps", [1, 12]),
    (["flux/dev"], "num_inference_steps", [1, 50]),
    ([*FLUX, "flux-pro/kontext"], "guidance_scale", [1, 3.5, 20]),
    ([*FLUX, "flux-pro/v1.1", *SEEDREAM], "image_size", ["square_hd", "landscape_16_9"]),
    (FLUX, "image_size", [{"width": 64, "height": 2048}]),
    (["flux-pro/v1.1"], "image_size", [{"width": 256, "height": 1440}]),
    (SEEDREAM[:2], "image_size", ["auto", "auto_4K", {"width": 960, "height": 4096}]),
    (SEEDREAM[2:], "image_size", ["auto_2K", {"width": 1920, "height": 4096}, {"width": 2560, "height": 1440}]),
    ([*PROMPTED, "clarity-upscaler"], "seed", [0, 2**64 - 1, "0", "17454220438242315174", None]),
    (NANO, "aspect_ratio", ["21:9", "9:16"]),
    (NANO[1::2], "aspect_ratio", ["auto"]),
    (NANO[2:], "resolution", ["1K", "2K", "4K"]),
    (["flux-pro/kontext"], "aspect_ratio", ["9:21", None]),
    (["clarity-upscaler"], "upscale_factor", [1, 2.5, 4]),
    (["birefnet/v2"], "operating_resolution", ["2048x2048"]),
]
REFUSED: list[tuple[list[str], str, list[Any]]] = [
    (PROMPTED, "num_images", [0, 5, True, "2", 1.5, None]),
    (NANO, "prompt", ["ab", "x" * 50_001]),
    ([*FLUX, *PRO, *SEEDREAM], "prompt", ["x" * 5_001]),
    (PROMPTED, "prompt", ["", "    ", "a\x00cat", 7, None, "lone \ud800 surrogate"]),
    ([*PRO, *NANO], "safety_tolerance", [2, "0", "7"]),
    (["flux/schnell"], "num_inference_steps", [0, 13]),
    (["flux/dev"], "num_inference_steps", [51]),
    ([*FLUX, "flux-pro/v1.1", *SEEDREAM], "image_size", ["huge", 7, {}, [], {"width": 1024}]),
    (FLUX, "image_size", [{"width": 63, "height": 64}, {"width": 64, "height": 2049}, "auto"]),
    (["flux-pro/v1.1"], "image_size", [{"width": 1441, "height": 256}, {"width": 1000, "height": 256}]),
    (SEEDREAM[:2], "image_size", [{"width": 959, "height": 4096}, {"width": 960, "height": 4097}]),
    (SEEDREAM[2:], "image_size", ["auto", {"width": 1919, "height": 1919}, {"width": 4097, "height": 4096}]),
    ([*PROMPTED, "clarity-upscaler"], "seed", [-1, 2**64, "-1", "1_7", "１７", " 17", "", 1.0, True, "9" * 21]),
    (NANO, "aspect_ratio", ["1:2"]),
    (NANO[::2], "aspect_ratio", ["auto"]),
    (["clarity-upscaler"], "upscale_factor", [0.5, 4.5]),
    (["birefnet/v2"], "operating_resolution", ["2304x2304", "1x1"]),
    ([model.id for model in MODELS], "sync_mode", [True, False]),
    ([model.id for model in MODELS], "image_url", ["https://elsewhere.example/a.png"]),
    ([model.id for model in MODELS], "image_urls", [[]]),
]


@pytest.mark.parametrize(("names", "field", "values"), TAKEN)
def test_a_value_within_the_limits_is_taken(names: list[str], field: str, values: list[Any]) -> None:
    for model in map(catalog.resolve, names):
        for value in values:
            raw = {**model.example, field: value}
            read_input(model, raw, model.references.least)
            assert _fits_schema(model, raw)


@pytest.mark.parametrize(("names", "field", "values"), REFUSED)
def test_a_value_outside_the_limits_is_refused_where_it_is(names: list[str], field: str, values: list[Any]) -> None:
    for model in map(catalog.resolve, names):
        for value in values:
            with pytest.raises(InvalidRequest) as caught:
                read_input(model, {**model.example, field: value}, model.references.least)
            pointers = [error.pointer for error in caught.value.errors]
            whole = field == "operating_resolution" and value == "2304x2304"
            assert all(p.startswith("/body/input" if whole else f"/body/input/{field}") for p in pointers), pointers


def test_every_fault_is_named_at_once_by_pointer() -> None:
    model = catalog.resolve("flux/schnell")
    raw = {"image_size": {"width": 1}, "num_images": 9, "wi/th~odd": 1}

    with pytest.raises(InvalidRequest) as caught:
        read_input(model, raw, 1)

    assert {(error.pointer, error.code) for error in caught.value.errors} == {
        ("/body/input/prompt", "missing"),
        ("/body/input/image_size/width", "greater-than-equal"),
        ("/body/input/image_size/height", "missing"),
        ("/body/input/num_images", "less-than-equal"),
        ("/body/input/wi~1th~0odd", "extra-forbidden"),
        ("/body/references", "too-many"),
    }


@every_model
def test_too_few_and_too_many_references_are_named(model: Model) -> None:
    for given, code in ((model.references.least - 1, "too-few"), (model.references.most + 1, "too-many")):
        if given < 0:
            continue
        with pytest.raises(InvalidRequest) as caught:
            read_input(model, model.example, given, references_at="/body/cells/3/references")
        assert [(e.pointer, e.code) for e in caught.value.errors] == [("/body/cells/3/references", code)]


@every_model
def test_the_schema_and_the_example_agree(model: Model) -> None:
    schema = model.input.model_json_schema()
    Draft202012Validator.check_schema(schema)

    assert _fits_schema(model, dict(model.example))
    assert all("'description'" in str(field) for field in schema["properties"].values())
    assert not {"sync_mode", *model.references.fields} & model.input.model_fields.keys()
    assert ("seed" in model.input.model_fields) is model.takes_seed


@every_model
def test_only_what_the_caller_set_is_sent(model: Model) -> None:
    urls = [f"https://references.example/{n}.png" for n in range(model.references.least)]
    asked = read_input(model, model.example, len(urls))

    arguments = model.arguments(asked, urls)

    named = (
        {model.references.fields[0]: urls}
        if model.references.many
        else dict(zip(model.references.fields, urls, strict=True))
    )
    assert arguments == {**model.example, **named}


@every_model
def test_a_stored_input_is_read_back_the_same(model: Model) -> None:
    raw = {**model.example, **({"seed": "17454220438242315174"} if model.takes_seed else {})}
    asked = read_input(model, raw, model.references.least)

    again = model.input.model_validate_json(asked.model_dump_json(exclude_unset=True))

    assert again == asked
    assert model.arguments(again, []) == model.arguments(asked, [])


def test_a_picture_and_its_mask_keep_their_order() -> None:
    fill = catalog.resolve("inpaint")
    asked = read_input(fill, fill.example, 2)

    arguments = fill.arguments(asked, ["https://a.example/picture", "https://a.example/mask"])

    assert arguments["image_url"].endswith("picture")
    assert arguments["mask_url"].endswith("mask")


@pytest.mark.parametrize("seed", ["17454220438242315174", 17454220438242315174, "0017454220438242315174"[2:]])
def test_a_seed_above_2_63_is_kept_as_text_and_sent_as_a_number(seed: str | int) -> None:
    model = catalog.resolve("text_to_image")

    asked = read_input(model, {"prompt": "a cat", "seed": seed})

    assert asked.model_dump()["seed"] == "17454220438242315174"
    assert model.arguments(asked, [], seed="5")["seed"] == 17454220438242315174
    assert model.chosen_seed(asked, random.Random(1)) == "17454220438242315174"


@every_model
def test_a_seed_is_chosen_only_where_one_is_taken(model: Model) -> None:
    asked = read_input(model, model.example, model.references.least)

    seed = model.chosen_seed(asked, random.Random(1))

    assert (seed is not None) is model.takes_seed
    assert model.arguments(asked, [], seed).get("seed") == (int(seed) if seed else None)
    assert "seed" not in model.arguments(asked, [])


def _fits_schema(model: Model, raw: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(model.input.model_json_schema()).is_valid(raw))
