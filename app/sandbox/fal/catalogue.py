"""The models this sandbox plays: what each takes, does, answers, costs, and how long it usually runs."""

from dataclasses import dataclass
from typing import Literal

from app.sandbox.fal import inputs
from app.sandbox.fal.inputs import Input
from app.sandbox.pictures.values import Deed

Shape = Literal["flux", "flux_pro", "banana", "seedream", "cut_out", "enlarged"]


@dataclass(frozen=True)
class Model:
    endpoint: str
    input: type[Input]
    deed: Deed
    shape: Shape
    seconds: float  # a usual run
    price_micro: int  # micro-USD per unit
    unit: Literal["images", "megapixels", "compute seconds"] = "images"


_BYTEDANCE = "fal-ai/bytedance/seedream"

MODELS = {
    model.endpoint: model
    for model in (
        Model("fal-ai/flux/schnell", inputs.Schnell, "draw", "flux", 1.6, 3_000, "megapixels"),
        Model("fal-ai/flux/dev", inputs.Flux, "draw", "flux", 3.66, 25_000, "megapixels"),
        Model("fal-ai/flux-pro/v1.1", inputs.FluxPro, "draw", "flux_pro", 4.8, 40_000, "megapixels"),
        Model("fal-ai/nano-banana", inputs.Banana, "draw", "banana", 8.2, 39_000),
        Model("fal-ai/nano-banana/edit", inputs.BananaEdit, "edit", "banana", 9.5, 39_000),
        Model("fal-ai/nano-banana-pro", inputs.BananaPro, "draw", "banana", 27.0, 150_000),
        Model("fal-ai/nano-banana-pro/edit", inputs.BananaProEdit, "edit", "banana", 31.0, 150_000),
        Model(f"{_BYTEDANCE}/v4/text-to-image", inputs.Seedream, "draw", "seedream", 11.0, 30_000),
        Model(f"{_BYTEDANCE}/v4/edit", inputs.SeedreamEdit, "edit", "seedream", 14.0, 30_000),
        Model(f"{_BYTEDANCE}/v4.5/text-to-image", inputs.SeedreamLarge, "draw", "seedream", 13.0, 40_000),
        Model(f"{_BYTEDANCE}/v4.5/edit", inputs.SeedreamLargeEdit, "edit", "seedream", 17.0, 40_000),
        Model("fal-ai/flux-pro/kontext", inputs.Kontext, "edit", "flux_pro", 6.4, 40_000),
        Model("fal-ai/flux-pro/v1/fill", inputs.Fill, "edit", "flux_pro", 9.0, 50_000, "megapixels"),
        Model("fal-ai/birefnet/v2", inputs.Birefnet, "cut_out", "cut_out", 2.4, 1_110, "compute seconds"),
        Model("fal-ai/clarity-upscaler", inputs.Clarity, "enlarge", "enlarged", 24.0, 30_000, "megapixels"),
    )
}


def price_micro(endpoint: str) -> int:
    model = MODELS.get(endpoint)
    return 0 if model is None else model.price_micro
