"""What can truthfully be said about the pictures and the question: named facts, which the schema then picks from.

Colours and sizes are measured; defects and their boxes are what the sandbox itself painted. A question that asks for
suggestions gets suggestions: plausible defects at seeded places.
"""

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Any

from app.sandbox.claude.sight import Sight
from app.sandbox.pictures.colours import named_in

Item = dict[str, Any]
Region = tuple[float, float, float, float]  # x, y, width, height as shares of the picture

_DEFECTS = (
    ("Surface scratch", "A thin bright line where the finish was cut", "scratch", "minor"),
    ("Dent", "A shallow round hollow with a soft shadow", "dent", "major"),
    ("Hairline crack", "A dark branching line running from a point of stress", "crack", "critical"),
    ("Stain", "An irregular brownish discolouration", "stain", "minor"),
    ("Chipped edge", "A small piece broken away, showing bare material", "chip", "major"),
    ("Rust spot", "An orange-brown patch of corrosion", "rust", "major"),
    ("Burn mark", "A dark scorched area with a lighter rim", "burn", "critical"),
    ("Pinhole", "A tiny dark hole through the surface", "hole", "minor"),
)
_MATERIALS = (
    "leather", "metal", "steel", "aluminium", "wood", "glass", "ceramic", "cotton", "fabric", "rubber", "plastic",
    "paper", "silicone", "carbon", "marble", "concrete", "wool", "linen", "canvas", "copper", "gold",
)  # fmt: skip
_ASKS_FOR_IDEAS = re.compile(
    r"\b(suggest|propose|could|might|likely|possible|plausible|ideas?|imagine|typical|categor)", re.IGNORECASE
)


@dataclass(frozen=True)
class Subject:
    """Everything the filler may use. `facts` maps property names to values, lists of items, or items."""

    facts: Item
    rng: random.Random
    question: str


def subject(question: str, sights: list[Sight]) -> Subject:
    seen = repr([(sight.width, sight.height, sight.colours) for sight in sights])
    rng = random.Random(hashlib.sha256(f"{question}{seen}".encode()).digest())
    sight = sights[-1] if sights else Sight(1024, 1024)
    words = sight.known.prompt if sight.known else question
    colours = _colours(sight)
    painted = [_defect(*box, index) for index, box in enumerate(sight.known.boxes)] if sight.known else []
    ideas = bool(_ASKS_FOR_IDEAS.search(question)) or not sights
    name = _name(words) if sight.known or not sights else f"{colours[0]['name']} object"
    defects = _suggested(rng, name) if ideas or (not painted and not _asks_what_is_there(question)) else painted
    return Subject(
        {
            "width": sight.width,
            "height": sight.height,
            "depth": max(1, min(sight.width, sight.height) // 3),
            "unit": "px",
            "colors": colours,
            "materials": _materials(words),
            "defects": defects,
            "boxes": painted,
            "elements": _elements(words, colours),
            "name": name,
            "description": _sentence(sight, name, colours, painted),
            "is_sandbox": sight.known is not None,
            "good": not painted,
            "prompts": _prompts(question, name, colours),
        },
        rng,
        question,
    )


def place_in_words(region: Region) -> str:
    x, y = region[0] + region[2] / 2, region[1] + region[3] / 2
    down = "upper" if y < 0.4 else "lower" if y > 0.6 else "middle"
    across = "left" if x < 0.4 else "right" if x > 0.6 else "centre"
    return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


def _colours(sight: Sight) -> list[Item]:
    roles = ("dominant", "secondary", "accent")
    return [
        {"name": name, "hex": code, "share": share, "value": name, "role": roles[min(at, 2)], "percentage": share * 100}
        for at, (name, code, share) in enumerate(sight.colours or [("gray", "#808286", 1.0)])
    ]


def _defect(name: str, x: float, y: float, w: float, h: float, index: int) -> Item:
    region = (x, y, w, h)
    return {
        "name": name.capitalize(),
        "type": name,
        "value": name,
        "description": f"Visible {name} in the {place_in_words(region)} of the picture",
        "prompt": f"Add {name} in the {place_in_words(region)}, change nothing else",
        "severity": ("minor", "major", "critical")[min(2, int(w * h * 60))],
        "confidence": round(0.97 - 0.02 * index, 2),
        "region": region,
    }


def _suggested(rng: random.Random, name: str) -> list[Item]:
    ideas = rng.sample(_DEFECTS, len(_DEFECTS))
    items = []
    for index, (title, text, word, severity) in enumerate(ideas):
        region = (round(rng.uniform(0.1, 0.6), 3), round(rng.uniform(0.1, 0.6), 3), 0.22, 0.18)
        item = _defect(word, *region, index)
        prompt = f"Add a realistic {title.lower()} to the {name} in the {place_in_words(region)}. Change nothing else."
        items.append({**item, "name": title, "description": text, "prompt": prompt, "severity": severity})
    return items


def _asks_what_is_there(question: str) -> bool:
    return bool(re.search(r"\b(detect|find|locate|inspect|visible|present|list what)\b", question, re.IGNORECASE))


def _materials(words: str) -> list[Item]:
    found = [word for word in _MATERIALS if word in words.lower()] or ["plastic"]
    return [{"name": word, "value": word, "description": f"{word}, as the picture suggests"} for word in found]


def _elements(words: str, colours: list[Item]) -> list[Item]:
    parts = [part.strip() for part in re.split(r"[,.;]| with | and ", words) if len(part.strip()) > 2][:5]
    parts = parts or [f"{colours[0]['name']} ground"]
    return [{"name": part, "value": part, "description": f"{part}, clearly visible"} for part in parts]


def _name(words: str) -> str:
    plain = re.sub(r"\[\[.*?\]\]", "", words)
    if re.match(
        r"\s*(add|make|change|remove|turn|replace|put|paint|show|create|generate|edit)\b", plain, re.IGNORECASE
    ):
        return "object"  # an instruction names no object
    return " ".join(re.findall(r"[\w'-]+", plain)[:6]) or "object"


def _sentence(sight: Sight, name: str, colours: list[Item], painted: list[Item]) -> str:
    tones = ", ".join(f"{one['name']} ({one['hex']})" for one in colours[:3])
    told = f"A {sight.width} by {sight.height} picture in {tones}."
    if sight.known:
        told += (
            f" It is a sandbox picture, drawn by the sandbox's {sight.known.model} for: {sight.known.prompt[:200]!r}."
        )
    if painted:
        places = ", ".join(f"{one['type']} in the {place_in_words(one['region'])}" for one in painted)
        told += f" Painted on it: {places}."
    return told if sight.colours else f"A picture of {name}."


def _prompts(question: str, name: str, colours: list[Item]) -> list[Item]:
    quoted = re.findall(r"[\"“']([^\"”']{8,400})[\"”']", question)
    base = (quoted[-1] if quoted else name).rstrip(".")
    light = ("soft studio light", "warm morning light", "crisp side light", "even daylight", "low evening light")
    tone = next(iter(named_in(base)), None)
    close = "sharp focus, plain background" if tone else f"in {colours[0]['name']} tones, sharp focus"
    return [{"value": text, "prompt": text, "text": text} for text in (f"{base}, {one}, {close}" for one in light)]
