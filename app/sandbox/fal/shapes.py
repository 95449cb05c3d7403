"""What a model answers: lists or single images, with or without seed, sizes, flags, timings, as each family has it."""

import random
from dataclasses import dataclass
from typing import Any

from app.sandbox.fal.catalogue import Model, Shape


@dataclass(frozen=True)
class Shown:
    """One finished picture, as the answer tells of it."""

    url: str
    content_type: str
    file_name: str
    file_size: int
    width: int
    height: int


@dataclass(frozen=True)
class Facts:
    prompt: str
    seed: int
    seconds: float
    flagged: bool
    bare: bool  # leave out what fal does not always say


def answer(model: Model, shown: list[Shown], facts: Facts) -> dict[str, Any]:
    images = [_image(model.shape, one, bare=facts.bare) for one in shown]
    timings = {"inference": round(facts.seconds, 4)}
    if model.shape in ("flux", "flux_pro"):
        flags = [facts.flagged] * len(images)
        seen = {"has_nsfw_concepts": flags, "images": images, "prompt": facts.prompt, "seed": facts.seed}
        return {**seen, "timings": timings}
    if model.shape == "banana":
        return {"images": images, "description": _description(facts)}
    if model.shape == "seedream":
        return {"images": images, "seed": facts.seed}
    if model.shape == "enlarged":
        return {"image": images[0], "seed": facts.seed, "timings": timings}
    return {"image": images[0], **({"mask_image": images[1]} if len(images) > 1 else {})}


def _image(shape: Shape, one: Shown, *, bare: bool) -> dict[str, Any]:
    if bare:
        return {"url": one.url, "content_type": one.content_type}
    size = {"width": one.width, "height": one.height, "content_type": one.content_type}
    if shape in ("flux", "flux_pro"):
        return {"url": one.url, **size}
    return {"url": one.url, **size, "file_name": one.file_name, "file_size": one.file_size}


def _description(facts: Facts) -> str:
    opening = random.Random(facts.seed).choice(("", "Here is the picture you asked for. ", "Of course. "))
    return f"{opening}{facts.prompt[:120]}" if opening else ""
