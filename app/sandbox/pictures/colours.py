"""Colour words and colours: both ways, because prompts name colours and Claude is asked to name them."""

import colorsys
import random
import re

Rgb = tuple[int, int, int]

NAMED: dict[str, Rgb] = {
    "black": (24, 24, 27), "white": (248, 248, 246), "gray": (128, 130, 134), "silver": (192, 197, 202),
    "charcoal": (54, 60, 66), "slate": (92, 107, 124), "red": (212, 48, 44), "crimson": (176, 22, 52),
    "maroon": (112, 28, 40), "coral": (250, 122, 92), "salmon": (248, 148, 128), "pink": (246, 162, 190),
    "rose": (226, 106, 136), "magenta": (206, 52, 158), "orange": (244, 134, 38), "amber": (250, 182, 42),
    "copper": (184, 110, 66), "bronze": (160, 116, 64), "brown": (118, 76, 46), "chocolate": (88, 52, 34),
    "tan": (208, 176, 136), "beige": (230, 216, 188), "cream": (250, 242, 220), "ivory": (250, 248, 234),
    "yellow": (250, 216, 60), "gold": (214, 172, 62), "olive": (124, 126, 50), "lime": (158, 212, 56),
    "green": (58, 150, 76), "emerald": (26, 140, 100), "forest": (34, 88, 54), "mint": (162, 224, 196),
    "teal": (24, 134, 134), "turquoise": (60, 196, 190), "cyan": (66, 194, 222), "sky": (134, 196, 240),
    "blue": (48, 104, 204), "navy": (26, 44, 98), "indigo": (72, 62, 156), "violet": (130, 90, 200),
    "purple": (122, 58, 158), "lavender": (186, 172, 230), "plum": (126, 58, 112),
}  # fmt: skip
_ALSO = {"grey": "gray", "golden": "gold", "golds": "gold", "silvery": "silver", "azure": "sky", "scarlet": "red"}


def named_in(text: str) -> list[Rgb]:
    """The colours a prompt names, in its order. "rose gold" is one colour of its own."""
    text = text.lower().replace("rose gold", "copper")
    words = (_ALSO.get(word, word) for word in re.findall(r"[a-z]+", text))
    return list(dict.fromkeys(NAMED[word] for word in words if word in NAMED))


def palette(text: str, rng: random.Random, size: int = 5) -> list[Rgb]:
    """The named colours first, then neighbours that go with them."""
    colours = named_in(text)[:size]
    hue = colorsys.rgb_to_hsv(*(part / 255 for part in colours[0]))[0] if colours else rng.random()
    while len(colours) < size:
        turn = rng.choice((0.0, 0.06, -0.06, 0.12, 0.5)) + rng.uniform(-0.02, 0.02)
        parts = colorsys.hsv_to_rgb((hue + turn) % 1, rng.uniform(0.25, 0.65), rng.uniform(0.55, 0.95))
        colours.append(_rgb(parts))
    return colours


def blend(one: Rgb, other: Rgb, share: float) -> Rgb:
    return _rgb(tuple((a + (b - a) * share) / 255 for a, b in zip(one, other, strict=True)))


def name_of(colour: Rgb) -> str:
    return min(NAMED, key=lambda name: sum((a - b) ** 2 for a, b in zip(NAMED[name], colour, strict=True)))


def hex_of(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _rgb(parts: tuple[float, ...]) -> Rgb:
    red, green, blue = (max(0, min(255, round(part * 255))) for part in parts)
    return red, green, blue
