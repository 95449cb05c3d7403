"""What each kind of model accepts, checked when the request runs, as at fal. Unknown keys are ignored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from app.sandbox.fal import outcomes

PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
RATIOS = {
    "1:1": (1024, 1024), "21:9": (1536, 672), "16:9": (1344, 768), "3:2": (1248, 832), "4:3": (1184, 864),
    "5:4": (1152, 896), "4:5": (896, 1152), "3:4": (864, 1184), "2:3": (832, 1248), "9:16": (768, 1344),
    "9:21": (672, 1536),
}  # fmt: skip
Preset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Ratio = Literal["1:1", "21:9", "16:9", "3:2", "4:3", "5:4", "4:5", "3:4", "2:3", "9:16"]
KontextRatio = Ratio | Literal["9:21"]
Count = Annotated[int, Field(ge=1, le=4)]
Prompt = Annotated[str, Field(min_length=1)]
Tolerance = Literal["1", "2", "3", "4", "5", "6"]


class Side(BaseModel):
    width: int = Field(ge=64, le=4096)
    height: int = Field(ge=64, le=4096)


class Input(BaseModel):
    """What the sandbox needs to know of every input; the fields below say what each model really takes."""

    prompt: str = ""
    num_images: int = 1
    seed: int | None = None
    output_format: str = "jpeg"
    sync_mode: bool = False

    def references(self) -> list[str]:
        return []

    def mask(self) -> str | None:
        return None


class Flux(Input):
    prompt: Prompt
    image_size: Preset | Side = "landscape_4_3"
    num_images: Count = 1
    num_inference_steps: int = Field(default=28, ge=1, le=50)
    guidance_scale: float = Field(default=3.5, ge=1, le=20)
    enable_safety_checker: bool = True
    output_format: Literal["jpeg", "png"] = "jpeg"
    acceleration: Literal["none", "regular", "high"] = "none"


class Schnell(Flux):
    num_inference_steps: int = Field(default=4, ge=1, le=12)


class FluxPro(Input):
    prompt: Prompt
    image_size: Preset | Side = "landscape_4_3"
    num_images: Count = 1
    output_format: Literal["jpeg", "png"] = "jpeg"
    safety_tolerance: Tolerance = "2"
    enhance_prompt: bool = False


class Banana(Input):
    prompt: Annotated[str, Field(min_length=3, max_length=50_000)]
    num_images: Count = 1
    aspect_ratio: Ratio | Literal["auto"] = "1:1"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    safety_tolerance: Tolerance = "4"
    limit_generations: bool = False


class BananaPro(Banana):
    resolution: Literal["1K", "2K", "4K"] = "1K"
    enable_web_search: bool = False
    system_prompt: str = ""


class _WithReferences(Input):
    image_urls: list[str] = Field(min_length=1, max_length=14)

    def references(self) -> list[str]:
        return self.image_urls


class BananaEdit(Banana, _WithReferences):
    aspect_ratio: Ratio | Literal["auto"] = "auto"


class BananaProEdit(BananaPro, _WithReferences):
    aspect_ratio: Ratio | Literal["auto"] = "auto"


class SeedreamSide(BaseModel):
    width: int = Field(ge=960, le=4096)
    height: int = Field(ge=960, le=4096)


class SeedreamLargeSide(SeedreamSide):
    @model_validator(mode="after")
    def _large_enough(self) -> "SeedreamLargeSide":
        """Each side 1920 to 4096, or the whole as many pixels as 2560 by 1440 at least."""
        if min(self.width, self.height) < 1920 and self.width * self.height < 2560 * 1440:
            raise ValueError("image_size must have sides of 1920 to 4096 or at least 2560x1440 pixels in total")
        return self


class Seedream(Input):
    prompt: Prompt
    image_size: Preset | Literal["auto", "auto_2K", "auto_4K"] | SeedreamSide = "auto_2K"
    num_images: Annotated[int, Field(ge=1, le=6)] = 1
    max_images: Annotated[int, Field(ge=1, le=6)] = 1
    enable_safety_checker: bool = True
    enhance_prompt_mode: Literal["standard", "fast"] = "standard"
    output_format: Literal["png"] = "png"


class SeedreamEdit(Seedream, _WithReferences):
    def references(self) -> list[str]:
        return self.image_urls[-10:]  # extra ones drop the first


class SeedreamLarge(Seedream):
    image_size: Preset | Literal["auto", "auto_2K", "auto_4K"] | SeedreamLargeSide = "auto_2K"


class SeedreamLargeEdit(SeedreamLarge, _WithReferences):
    def references(self) -> list[str]:
        return self.image_urls[-10:]


class _WithImage(Input):
    image_url: Prompt

    def references(self) -> list[str]:
        return [self.image_url]


class Kontext(_WithImage):
    prompt: Prompt
    aspect_ratio: KontextRatio | None = None
    guidance_scale: float = Field(default=3.5, ge=1, le=20)
    num_images: Count = 1
    output_format: Literal["jpeg", "png"] = "jpeg"
    safety_tolerance: Tolerance = "2"
    enhance_prompt: bool = False


class Fill(_WithImage):
    prompt: Prompt
    mask_url: Prompt
    num_images: Count = 1
    output_format: Literal["jpeg", "png"] = "jpeg"
    safety_tolerance: Tolerance = "2"
    enhance_prompt: bool = False

    def mask(self) -> str | None:
        return self.mask_url


class Birefnet(_WithImage):
    model: str = "General Use (Light)"
    operating_resolution: Literal["1024x1024", "2048x2048", "2304x2304"] = "1024x1024"
    output_format: Literal["png", "webp", "gif"] = "png"
    output_mask: bool = False
    mask_only: bool = False
    refine_foreground: bool = True


class Clarity(_WithImage):
    prompt: str = "masterpiece, best quality, highres"
    upscale_factor: float = Field(default=2, ge=1, le=4)
    creativity: float = Field(default=0.35, ge=0, le=1)
    resemblance: float = Field(default=0.6, ge=0, le=1)
    output_format: Literal["png"] = "png"


_FAL_NAMES = {"literal_error": "one_of", "too_short": "sequence_too_short", "too_long": "sequence_too_long"}


def faults(error: ValidationError) -> outcomes.Outcome:
    """Pydantic's findings in fal's words. A union reports each branch; fal shows them all, and so do we."""
    return outcomes.refusal(
        *(
            outcomes.detail(
                _FAL_NAMES.get(found["type"], found["type"]),
                found["msg"],
                ["body", *found["loc"]],
                found["input"],
                _plain(found),
            )
            for found in error.errors(include_url=False)
        )
    )


def _plain(found: Any) -> dict[str, Any]:
    context = found.get("ctx", {})
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in context.items()}
