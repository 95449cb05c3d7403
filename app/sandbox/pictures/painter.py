"""Draws the sandbox's pictures: pleasant abstract ones out of the prompt's words and the seed. Same in, same out.

Everything is drawn at twice its size, but on no more than about 1,500 pixels, and brought to size: edges are smooth and
large pictures cost little more than small ones. Runs in worker threads only; Pillow is imported with the first picture.
"""

import hashlib
import io
import json
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.sandbox.pictures.colours import Rgb, blend, palette

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

CANVAS = 1536
MARK, PLATE, INK = "SANDBOX", (246, 246, 242), (32, 32, 36)
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Scene:
    model: str
    prompt: str
    seed: int
    width: int
    height: int

    @property
    def rng(self) -> random.Random:
        text = json.dumps([self.model, self.prompt, self.seed, self.width, self.height])
        return random.Random(hashlib.sha256(text.encode()).digest())


def draw(scene: Scene) -> "Image.Image":
    from PIL import Image, ImageDraw

    rng = scene.rng
    colours = palette(scene.prompt, rng)
    scale = min(2.0, CANVAS / max(scene.width, scene.height))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    canvas = _sky(size, colours, rng)
    brush = ImageDraw.Draw(canvas, "RGBA")
    rng.choice((_hills, _discs, _ribbons, _tiles, _petals))(brush, size, colours, rng)
    return canvas.resize((scene.width, scene.height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def mark(image: "Image.Image") -> None:
    """The visible mark, on an opaque plate: marking twice changes nothing."""
    from PIL import ImageDraw, ImageFont

    box, height = _plate(image.size)
    brush = ImageDraw.Draw(image)
    brush.rectangle(box, fill=(*PLATE, 255)[: len(image.getbands())])
    place = (box[0] + height // 3, box[1] + height // 6)
    brush.text(place, MARK, font=ImageFont.load_default(height), fill=(*INK, 255)[: len(image.getbands())])


def unmark(image: "Image.Image") -> None:
    """Takes the mark away before a picture is turned or narrowed: what stands left of it is drawn over it."""
    (left, top, right, bottom), _ = _plate(image.size)
    corner = image.crop((left + 1, top + 1, left + 2, top + 2)).tobytes()
    if left > 2 and all(abs(seen - plain) < 5 for seen, plain in zip(corner, PLATE, strict=True)):
        beside = image.crop((left - 2, top, left - 1, bottom + 1))
        image.paste(beside.resize((right - left + 1, bottom - top + 1)), (left, top))


def _plate(size: tuple[int, int]) -> tuple[Box, int]:
    """Where the mark stands, and how high its letters are."""
    from PIL import ImageFont

    height = max(10, min(size) // 36)
    width, pad = math.ceil(ImageFont.load_default(height).getlength(MARK)), height // 3
    return (size[0] - width - 3 * pad, size[1] - height - 3 * pad, size[0] - pad, size[1] - pad), height


def encode(image: "Image.Image", kind: str, facts: dict[str, object]) -> bytes:
    """As jpeg, png, webp or gif; what the picture is stands in its metadata too."""
    from PIL import Image

    target = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = json.dumps(facts)  # ImageDescription
    exif[0x0131] = "fal sandbox: no real model made this"  # Software
    options: dict[str, object] = {"exif": exif}
    if kind == "jpeg":
        image, options = image.convert("RGB"), {**options, "quality": 90}
    elif kind == "png":
        options["compress_level"] = 1
    elif kind == "webp":
        options |= {"quality": 90, "method": 1}
    else:
        options = {}
    image.save(target, kind, **options)
    return target.getvalue()


def likeness(image: "Image.Image") -> str:
    """A 64-bit fingerprint that survives re-encoding and another size: is each pixel brighter than its neighbour?"""
    small = image.convert("L").resize((9, 8)).tobytes()
    bits = "".join("01"[small[9 * row + col] > small[9 * row + col + 1]] for row in range(8) for col in range(8))
    return f"{int(bits, 2):016x}"


def thumb(image: "Image.Image") -> str:
    """A picture of 16 by 16 pixels, to tell apart what is alike."""
    from PIL import Image

    return image.convert("RGB").resize((16, 16), Image.Resampling.BOX).tobytes().hex()


def _sky(size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> "Image.Image":
    from PIL import Image, ImageOps

    ramp = Image.linear_gradient("L").rotate(
        rng.choice((0, 20, 160, 180, 200, 340)), Image.Resampling.BICUBIC, fillcolor=128
    )
    ramp = ramp.crop((44, 44, 212, 212)).resize(size, Image.Resampling.BILINEAR)
    top, bottom = blend(colours[0], (255, 255, 255), 0.45), blend(colours[1], (20, 22, 40), 0.15)
    sky = ImageOps.colorize(ramp, top, bottom, mid=blend(colours[0], colours[1], 0.5))
    glow = ImageOps.invert(Image.radial_gradient("L"))
    side = round(min(size) * rng.uniform(0.6, 1.1))
    place = (rng.randrange(-side // 3, size[0] - side // 2), rng.randrange(-side // 3, size[1] // 2))
    sky.paste(
        blend(colours[2], (255, 255, 255), 0.6),
        place,
        glow.resize((side, side)).point(lambda value: max(0, value - 76) * 0.8),
    )
    return sky


def _hills(brush: "ImageDraw.ImageDraw", size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> None:
    width, height = size
    for layer in range(5):
        base, lift = height * (0.42 + 0.13 * layer), height * rng.uniform(0.03, 0.09)
        phase, waves = rng.uniform(0, math.tau), rng.uniform(0.7, 2.2)
        line = [(x, base + lift * math.sin(phase + waves * math.tau * x / width)) for x in range(0, width + 16, 16)]
        tone = blend(colours[layer % len(colours)], (18, 20, 34), 0.12 * layer)
        brush.polygon([*line, (width + 16, height), (0, height)], fill=(*tone, 235))


def _discs(brush: "ImageDraw.ImageDraw", size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> None:
    for number in range(rng.randint(7, 12)):
        radius = min(size) * rng.uniform(0.05, 0.26)
        x, y = rng.uniform(0.1, 0.9) * size[0], rng.uniform(0.12, 0.88) * size[1]
        colour = colours[number % len(colours)]
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, 190))
        inner, lift = radius * 0.7, radius * 0.18
        box = (x - inner - lift, y - inner - lift, x + inner - lift, y + inner - lift)
        brush.ellipse(box, fill=(*blend(colour, (255, 255, 255), 0.35), 110))


def _ribbons(brush: "ImageDraw.ImageDraw", size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> None:
    width, height = size
    for number in range(7):
        level, phase, sweep = height * (0.1 + 0.12 * number), rng.uniform(0, math.tau), height * rng.uniform(0.05, 0.16)
        thick = height * rng.uniform(0.03, 0.09)
        upper = [(x, level + sweep * math.sin(phase + 4.5 * x / width)) for x in range(-16, width + 32, 16)]
        lower = [(x, y + thick * (0.6 + 0.4 * math.cos(3 * x / width))) for x, y in reversed(upper)]
        brush.polygon([*upper, *lower], fill=(*colours[number % len(colours)], 215))


def _tiles(brush: "ImageDraw.ImageDraw", size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> None:
    across = rng.randint(5, 8)
    side = size[0] / across
    for row in range(math.ceil(size[1] / side)):
        for column in range(across):
            x, y, colour = column * side, row * side, blend(rng.choice(colours), (255, 255, 255), rng.uniform(0, 0.25))
            corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
            if (turn := rng.randrange(6)) < 4:
                brush.polygon([corners[turn], corners[turn - 1], corners[turn - 2]], fill=(*colour, 205))
            elif turn == 4:
                brush.ellipse((x + side * 0.15, y + side * 0.15, x + side * 0.85, y + side * 0.85), fill=(*colour, 205))


def _petals(brush: "ImageDraw.ImageDraw", size: tuple[int, int], colours: list[Rgb], rng: random.Random) -> None:
    cx, cy, reach = size[0] * rng.uniform(0.4, 0.6), size[1] * rng.uniform(0.42, 0.58), min(size) * 0.44
    for ring in range(4, 0, -1):
        count, length, turn = rng.randint(7, 13), reach * ring / 4, rng.uniform(0, math.tau)
        for petal in range(count):
            angle = turn + math.tau * petal / count
            spread = math.pi / count * 1.1
            tip = [
                (angle - spread, 0.62),
                (angle - spread / 2, 0.92),
                (angle, 1.0),
                (angle + spread / 2, 0.92),
                (angle + spread, 0.62),
            ]
            points = [(cx + length * far * math.cos(at), cy + length * far * math.sin(at)) for at, far in tip]
            brush.polygon([(cx, cy), *points], fill=(*colours[(ring + petal % 2) % len(colours)], 220))
    core = reach * 0.1
    brush.ellipse((cx - core, cy - core, cx + core, cy + core), fill=(*blend(colours[0], (255, 255, 255), 0.5), 255))
