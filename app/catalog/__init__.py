"""What can be generated: one file per fal model, listed in `MODELS` below; nothing is found by scanning."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.catalog import (
    birefnet_v2,
    clarity_upscaler,
    flux_dev,
    flux_pro_fill,
    flux_pro_kontext,
    flux_pro_v1_1,
    flux_schnell,
    nano_banana,
    nano_banana_edit,
    nano_banana_pro,
    nano_banana_pro_edit,
    seedream_v4,
    seedream_v4_5,
    seedream_v4_5_edit,
    seedream_v4_edit,
)
from app.catalog.spec import Model, Role
from app.core.errors import FieldError, InvalidRequest, NotFound

MODELS: tuple[Model, ...] = (
    flux_schnell.MODEL,
    flux_dev.MODEL,
    flux_pro_v1_1.MODEL,
    nano_banana.MODEL,
    nano_banana_edit.MODEL,
    nano_banana_pro.MODEL,
    nano_banana_pro_edit.MODEL,
    seedream_v4.MODEL,
    seedream_v4_edit.MODEL,
    seedream_v4_5.MODEL,
    seedream_v4_5_edit.MODEL,
    flux_pro_kontext.MODEL,
    flux_pro_fill.MODEL,
    birefnet_v2.MODEL,
    clarity_upscaler.MODEL,
)

DEFAULTS: Mapping[Role, str] = MappingProxyType(
    {
        Role.TEXT_TO_IMAGE: "fal-ai/flux/schnell",
        Role.IMAGE_TO_IMAGE: "fal-ai/nano-banana/edit",
        Role.INPAINT: "fal-ai/flux-pro/v1/fill",
        Role.CUTOUT: "fal-ai/birefnet/v2",
        Role.UPSCALE: "fal-ai/clarity-upscaler",
    }
)
"""Which model does it when the caller says only what is to be done."""


class UnknownModel(InvalidRequest):
    """There is no such model or role here"""

    slug = "unknown-model"
    way_out = "Choose a model or role from GET /api/v1/models."


@dataclass(frozen=True)
class Catalog:
    models: tuple[Model, ...] = MODELS
    defaults: Mapping[Role, str] = field(default_factory=lambda: DEFAULTS)

    @property
    def names(self) -> list[str]:
        """All that `resolve` knows: ids, whole and short, and roles."""
        whole = [model.id for model in self.models]
        return [*whole, *(each.removeprefix("fal-ai/") for each in whole), *(role.value for role in self.defaults)]

    def get(self, id: str) -> Model:
        """The model of this endpoint id, whole or without `fal-ai/`. Raises `NotFound`."""
        if model := self._find(id):
            return model
        raise NotFound(f"There is no such model here.{self._way_out(id)}")

    def for_role(self, role: Role) -> Model:
        """The default model of the role."""
        return self.get(self.defaults[role])

    def resolve(self, name: str, *, at: str = "/body/model") -> Model:
        """The model a caller means: an endpoint id, the same without `fal-ai/`, or a role. Raises `UnknownModel`."""
        if model := self._find(name):
            return model
        if name in {role.value for role in self.defaults}:
            return self.for_role(Role(name))
        detail = f"There is no such model or role here.{self._way_out(name)}"
        raise UnknownModel(detail, errors=[FieldError(at, detail, UnknownModel.slug)])

    def _find(self, id: str) -> Model | None:
        return next((model for model in self.models if id in {model.id, model.id.removeprefix("fal-ai/")}), None)

    def _way_out(self, name: str) -> str:
        names = [*(model.id.removeprefix("fal-ai/") for model in self.models), *self.defaults]
        close = difflib.get_close_matches(name[:100].lower().removeprefix("fal-ai/"), names, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        return f"{meant} GET /api/v1/models lists what there is."
