"""Pictures made from pictures: edits that start from the reference, cut-outs, enlargements.

An edit asked for a defect paints it and nothing else, so that what changed can be measured against what was painted.
Any other edit keeps the reference's look: tinted by the colours the prompt names, seen from the side it asks for.
"""

from typing import TYPE_CHECKING

from app.sandbox.pictures import defects
from app.sandbox.pictures.colours import named_in
from app.sandbox.pictures.painter import Scene, unmark
from app.sandbox.pictures.values import BadPicture, Painted

if TYPE_CHECKING:
    from PIL import Image


def edit(
    references: list["Image.Image"], scene: Scene, mask: "Image.Image | None"
) -> tuple["Image.Image", tuple[Painted, ...]]:
    first = references[0]
    if mask is not None and mask.size != first.size:
        message = f"The mask must have the size of the image: {mask.size} is not {first.size}."
        raise BadPicture("image_load_error", message, len(references))
    image = _fitted(_flat(first), (scene.width, scene.height))
    wanted = defects.asked_for(scene.prompt)
    if wanted:
        area = None if mask is None else _fitted(mask.convert("L"), image.size)
        return image, defects.paint(image, wanted, scene.rng, area)
    unmark(image)
    changed = _tinted(_seen_from(image, scene.prompt), scene)
    for number, other in enumerate(references[1:4]):
        _inset(changed, _flat(other), number)
    if mask is not None:
        image.paste(changed, mask=_fitted(mask.convert("L"), image.size))
        return image, ()
    return changed, ()


def cut_out(image: "Image.Image") -> tuple["Image.Image", "Image.Image"]:
    """The middle stays, the background goes: what differs from the corners' colour, inside a soft oval."""
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    flat = _flat(image)
    oval = Image.new("L", flat.size, 0)
    width, height = flat.size
    ImageDraw.Draw(oval).ellipse((width * 0.08, height * 0.06, width * 0.92, height * 0.94), fill=255)
    corner = flat.resize((1, 1), box=(0, 0, max(1, width // 12), max(1, height // 12))).getpixel((0, 0))
    backdrop = Image.new("RGB", flat.size, corner)
    differs = ImageChops.difference(flat, backdrop).convert("L").point(lambda value: 255 if value > 14 else 0)
    ImageDraw.Draw(differs).ellipse((width * 0.25, height * 0.25, width * 0.75, height * 0.75), fill=255)
    outline = ImageChops.multiply(oval, differs.filter(ImageFilter.MaxFilter(9)).filter(ImageFilter.GaussianBlur(2)))
    result = flat.convert("RGBA")
    result.putalpha(outline)
    return result, outline


def enlarge(image: "Image.Image", factor: float) -> "Image.Image":
    from PIL import Image, ImageFilter

    flat = _flat(image)
    size = (min(8192, round(flat.width * factor)), min(8192, round(flat.height * factor)))
    return flat.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.UnsharpMask(2, 60, 2))


def _flat(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA", "P"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (244, 244, 242, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _fitted(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    from PIL import Image, ImageOps

    return image.copy() if image.size == size else ImageOps.fit(image, size, Image.Resampling.BICUBIC)


def _seen_from(image: "Image.Image", prompt: str) -> "Image.Image":
    """A hint of another view: mirrored for the back, narrowed for the side, lying for top and bottom."""
    from PIL import Image, ImageOps

    words = set(prompt.lower().replace("-", " ").replace(",", " ").split())
    width, height = image.size
    ground = image.resize((1, 1)).resize(image.size)
    if "back" in words or "rear" in words:
        return ImageOps.mirror(image)
    if "side" in words:
        narrow = image.resize((width // 2, height), Image.Resampling.BICUBIC)
        ground.paste(narrow, (width // 4, 0))
        return ground
    if words & {"top", "bottom", "underside", "above", "below"}:
        low = image.resize((width, height // 2), Image.Resampling.BICUBIC)
        ground.paste(ImageOps.flip(low) if words & {"bottom", "underside", "below"} else low, (0, height // 4))
        return ground
    return image


def _tinted(image: "Image.Image", scene: Scene) -> "Image.Image":
    from PIL import Image, ImageOps

    colours = named_in(scene.prompt)
    if not colours:
        turn = scene.rng.uniform(0.94, 1.06)
        return image.point(lambda value: min(255, round(value * turn)))
    tinted = ImageOps.colorize(ImageOps.grayscale(image), (16, 16, 20), (252, 252, 250), mid=colours[0])
    return Image.blend(image, tinted, 0.45)


def _inset(image: "Image.Image", other: "Image.Image", number: int) -> None:
    """Further references appear as small pictures along the top."""
    side = min(image.size) // 6
    small = _fitted(other, (side, side))
    gap = side // 6
    image.paste(small, (gap + number * (side + gap), gap))
