"""Makes pictures to order, in worker threads, and remembers the last few hundred: same order, same bytes."""

import asyncio
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from app.sandbox.pictures import edits, painter
from app.sandbox.pictures.values import BadPicture, Order, Painted, Picture

if TYPE_CHECKING:
    from PIL import Image

REMEMBERED, MOST_PIXELS, SMALLEST = 300, 40_000_000, 16
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")


class Studio:
    def __init__(self, painters: int = 2) -> None:
        self._painters = ThreadPoolExecutor(painters, "painter")
        self._memory: OrderedDict[str, list[Picture]] = OrderedDict()

    async def make(self, order: Order) -> list[Picture]:
        key = order.key
        if key not in self._memory:
            self._memory[key] = await asyncio.get_running_loop().run_in_executor(self._painters, _make, order)
            if len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def close(self) -> None:
        self._painters.shutdown(wait=False, cancel_futures=True)


def _make(order: Order) -> list[Picture]:
    references = [_open(data, which) for which, data in enumerate(order.references)]
    size = order.size or (references[0].size if references else (1024, 1024))
    scene = painter.Scene(order.model, order.prompt, order.seed, *size)
    boxes: tuple[Painted, ...] = ()
    masks: list[Image.Image] = []
    if order.deed == "draw":
        image = painter.draw(scene)
    elif order.deed == "edit":
        image, boxes = edits.edit(references, scene, None if order.mask is None else _open(order.mask, len(references)))
    elif order.deed == "cut_out":
        image, outline = edits.cut_out(references[0])
        masks = [outline] if order.with_mask else []
    else:
        image = edits.enlarge(references[0], order.factor)
    if order.black:
        image.paste((0, 0, 0), (0, 0, *image.size))
    if not boxes:  # a defect is painted and nothing else, so that the difference is the defect
        painter.mark(image)
    facts: dict[str, object] = {"sandbox": True, "model": order.model, "prompt": order.prompt, "seed": str(order.seed)}
    return [_finished(image, order.kind, facts, boxes), *(_finished(mask, "png", facts, ()) for mask in masks)]


def _finished(image: "Image.Image", kind: str, facts: dict[str, object], boxes: tuple[Painted, ...]) -> Picture:
    data, looks = painter.encode(image, kind, facts), (painter.likeness(image), painter.thumb(image))
    return Picture(data, kind, *image.size, *looks, boxes)


def _open(data: bytes, which: int) -> "Image.Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
        if image.width * image.height > MOST_PIXELS:
            ctx: dict[str, object] = {"max_width": 8000, "max_height": 8000}
            raise BadPicture("image_too_large", "The image is too large.", which, ctx)
        if min(image.size) < SMALLEST:
            ctx = {"min_width": SMALLEST, "min_height": SMALLEST}
            raise BadPicture("image_too_small", "The image is too small.", which, ctx)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        raise BadPicture("image_load_error", "Failed to load the image.", which) from problem
    return ImageOps.exif_transpose(image)
