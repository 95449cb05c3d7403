"""Paints the defects a prompt asks for at a seeded place, and says exactly where: the box is what really changed."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.sandbox.pictures.values import Painted

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Point = tuple[float, float]

_WORDS = {
    "scratch": "scratch", "scuff": "scratch", "scrape": "scratch",
    "crack": "crack", "fracture": "crack", "tear": "crack", "rip": "crack", "fray": "crack",
    "dent": "dent", "dimple": "dent", "bump": "dent", "bubble": "dent", "blister": "dent",
    "hole": "hole", "puncture": "hole", "pit": "hole", "pinhole": "hole",
    "chip": "chip", "nick": "chip", "burr": "chip",
    "stain": "stain", "spot": "stain", "smudge": "stain", "blotch": "stain", "discolor": "stain", "discolour": "stain",
    "contaminat": "stain", "grease": "stain", "dirt": "stain",
    "torn": "crack", "broken": "crack", "shatter": "crack", "bent": "dent", "warp": "dent", "missing": "hole",
    "worn": "scratch", "abrasion": "scratch", "mold": "stain", "mould": "stain", "blemish": "stain", "fad": "stain",
    "burn": "burn", "scorch": "burn", "rust": "rust", "corro": "rust", "peel": "rust",
}  # fmt: skip
_ENDING = r"(?:e?s|d|y|[bdnpt]?ed|[bdnpt]?ing|s?ion|ations?|marks?)?"
_WORD = re.compile(r"\b(" + "|".join(_WORDS) + ")" + _ENDING + r"\b")
_PLACES = {
    "left": (0.15, None), "right": (0.7, None), "top": (None, 0.18), "upper": (None, 0.25), "bottom": (None, 0.7),
    "lower": (None, 0.65), "center": (0.5, 0.5), "centre": (0.5, 0.5), "middle": (0.5, 0.5),
}  # fmt: skip


@dataclass(frozen=True)
class Wish:
    word: str  # as the prompt has it
    what: str  # what to paint
    told: str  # the part of the prompt that speaks of it


def asked_for(prompt: str) -> list[Wish]:
    """Each kind at most once. "No scratches" asks for none."""
    text = prompt.lower()
    found: dict[str, tuple[str, int]] = {}
    end = -9
    for match in _WORD.finditer(text):
        before = text[max(0, match.start() - 24) : match.start()]
        same = not text[max(0, end) : match.start()].strip(" -") if end > 0 else False  # "rust spot" is one defect
        end = match.end()
        if not same and not re.search(r"\b(no|without|remove|free of|any|not)\b[\w\s,]*$", before):
            found.setdefault(_WORDS[match[1]], (match[1], match.start()))
    starts = [at for _, at in found.values()]
    parts = (
        [text[at:until] for at, until in zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True)] if starts else []
    )
    return [Wish(word, what, part) for (what, (word, _)), part in zip(found.items(), parts, strict=True)]


def paint(
    image: "Image.Image", wanted: list[Wish], rng: random.Random, area: "Image.Image | None"
) -> tuple[Painted, ...]:
    from PIL import ImageChops, ImageDraw

    boxes = []
    for wish in wanted[:4]:
        before = image.copy()
        reach = min(image.size) * rng.uniform(0.07, 0.12) * _size(wish.told)
        _STROKES[wish.what](ImageDraw.Draw(image, "RGBA"), _place(image.size, wish.told, rng, area), reach, rng)
        if area is not None:
            image.paste(before, mask=ImageChops.invert(area.point(lambda value: 255 if value >= 128 else 0)))
        changed = ImageChops.difference(before, image).getbbox()
        if changed:
            left, top, right, bottom = changed
            boxes.append(Painted(wish.word, left, top, right - left, bottom - top))
    return tuple(boxes)


def _size(told: str) -> float:
    small = re.search(r"\b(small|tiny|minor|subtle|hairline|slight)\b", told)
    large = re.search(r"\b(large|big|severe|major|deep|heavy)\b", told)
    return 0.5 if small else 1.6 if large else 1.0


def _place(size: tuple[int, int], told: str, rng: random.Random, area: "Image.Image | None") -> Point:
    """Inside the mask if there is one, else where the prompt says, else somewhere in the middle of the picture."""
    if area is not None and (spots := _white(area)):
        x, y = rng.choice(spots)
        return x * size[0], y * size[1]
    x, y = rng.uniform(0.25, 0.72), rng.uniform(0.25, 0.68)
    for word in re.findall(r"[a-z]+", told):
        if word in _PLACES:
            across, down = _PLACES[word]
            x = x if across is None else across + rng.uniform(0, 0.12)
            y = y if down is None else down + rng.uniform(0, 0.1)
    return x * size[0], y * size[1]


def _white(area: "Image.Image") -> list[Point]:
    side = 48
    cells = area.resize((side, side)).tobytes()
    lit = {at for at, value in enumerate(cells) if value >= 128}
    inner = [at for at in lit if {at - 1, at + 1, at - side, at + side} <= lit]  # away from the mask's edge if possible
    return [((at % side + 0.5) / side, (at // side + 0.5) / side) for at in sorted(inner or lit)]


def _scratch(brush: "ImageDraw.ImageDraw", at: Point, reach: float, rng: random.Random) -> None:
    angle = rng.uniform(0, math.pi)
    width = max(2, round(reach / 32))
    for number in range(rng.randint(1, 3)):
        shift = number * reach * 0.16
        line = [
            (at[0] + shift + part * reach * 1.3 * math.cos(angle), at[1] + part * reach * 1.3 * math.sin(angle) + bend)
            for part, bend in ((-1, 0.0), (-0.3, rng.uniform(-2, 2)), (0.4, rng.uniform(-2, 2)), (1, 0.0))
        ]
        brush.line([(x + width, y + width) for x, y in line], fill=(20, 20, 22, 255), width=width)
        brush.line(line, fill=(250, 250, 248, 255), width=width)


def _crack(brush: "ImageDraw.ImageDraw", at: Point, reach: float, rng: random.Random) -> None:
    width = max(2, round(reach / 18))
    for arm in range(3):
        angle, (x, y) = arm * math.tau / 3 + rng.uniform(-0.5, 0.5), at
        for step in range(5):
            angle += rng.uniform(-0.7, 0.7)
            nx, ny = x + reach * 0.25 * math.cos(angle), y + reach * 0.25 * math.sin(angle)
            brush.line([(x, y), (nx, ny)], fill=(14, 14, 16, 255), width=max(1, width - step // 2))
            x, y = nx, ny


def _dent(brush: "ImageDraw.ImageDraw", at: Point, reach: float, _: random.Random) -> None:
    for ring in range(10):
        radius = reach * (1 - ring / 11)
        lift = reach * 0.03 * ring
        box = (at[0] - radius + lift, at[1] - radius * 0.8 + lift, at[0] + radius + lift, at[1] + radius * 0.8 + lift)
        brush.ellipse(box, fill=(10, 10, 14, 40))
    brush.arc(
        (at[0] - reach, at[1] - reach * 0.8, at[0] + reach, at[1] + reach * 0.8), 20, 160, (255, 255, 255, 200), 3
    )


def _blot(inks: list[tuple[int, int, int, int]], count: int, spread: float) -> Callable[..., None]:
    def stroke(brush: "ImageDraw.ImageDraw", at: Point, reach: float, rng: random.Random) -> None:
        for _ in range(count):
            radius = reach * rng.uniform(0.25, 0.6)
            x, y = at[0] + reach * spread * rng.uniform(-1, 1), at[1] + reach * spread * rng.uniform(-1, 1)
            brush.ellipse((x - radius, y - radius * 0.85, x + radius, y + radius * 0.85), fill=rng.choice(inks))

    return stroke


def _chip(brush: "ImageDraw.ImageDraw", at: Point, reach: float, rng: random.Random) -> None:
    corners = [
        (at[0] + reach * far * math.cos(turn), at[1] + reach * far * math.sin(turn))
        for turn, far in ((math.tau * part / 7, rng.uniform(0.45, 0.95)) for part in range(7))
    ]
    brush.polygon(corners, fill=(226, 222, 214, 255), outline=(40, 38, 36, 255))


_STROKES: dict[str, Callable[..., None]] = {
    "scratch": _scratch,
    "crack": _crack,
    "dent": _dent,
    "chip": _chip,
    "hole": _blot([(8, 8, 10, 255)], 2, 0.12),
    "stain": _blot([(92, 58, 22, 150), (70, 44, 20, 140), (110, 76, 34, 130)], 6, 0.5),
    "burn": _blot([(16, 10, 8, 210), (40, 22, 12, 190), (74, 40, 18, 150)], 7, 0.45),
    "rust": _blot([(150, 70, 26, 200), (178, 92, 40, 190), (112, 50, 22, 210)], 9, 0.6),
}
