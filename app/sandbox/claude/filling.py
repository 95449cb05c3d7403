"""Fills any JSON schema: truthfully where a property's name says what is wanted, plausibly elsewhere."""

import re
from collections.abc import Callable
from typing import Any

from app.sandbox.claude.telling import Item, Region, Subject, place_in_words

Schema = dict[str, Any]

_SAME: dict[str, tuple[str, ...]] = {
    "colors": ("color", "colour", "palette", "hue"),
    "hex": ("hex",),
    "materials": ("material", "fabric", "texture"),
    "defects": ("defect", "categor", "suggestion", "flaw", "damage", "issue", "anomal", "finding"),
    "boxes": ("box", "annotation", "detection", "region_list", "object"),
    "region": ("region", "bbox", "bounding", "location", "area", "place", "position", "where"),
    "elements": ("element", "feature", "part", "component", "detail", "tag", "keyword"),
    "prompts": ("prompt", "variation", "rewrite", "candidate", "alternative", "refined"),
    "description": ("descri", "summar", "caption", "explan", "reason", "note", "comment", "rationale", "text"),
    "name": ("name", "title", "label", "product", "subject"),
    "severity": ("severity", "level"),
    "confidence": ("confidence", "score", "rating", "certainty", "quality"),
    "share": ("share", "proportion", "weight", "coverage"),
    "percentage": ("percent",),
    "role": ("role", "usage"),
    "type": ("type", "kind", "class"),
    "unit": ("unit",),
    "good": ("approved", "pass", "match", "consistent", "valid", "accept", "ok", "good"),
    "width": ("width",), "height": ("height",), "depth": ("depth",),
}  # fmt: skip
_EDGES = {
    "x": "left", "left": "left", "x1": "left", "xmin": "left", "y": "top", "top": "top", "y1": "top", "ymin": "top",
    "w": "wide", "width": "wide", "h": "high", "height": "high", "x2": "right", "xmax": "right", "right": "right",
    "y2": "low", "ymax": "low", "bottom": "low", "cx": "mid_x", "centerx": "mid_x", "cy": "mid_y", "centery": "mid_y",
}  # fmt: skip


def fill(schema: Schema, subject: Subject) -> Any:
    return _Filler(schema, subject).value(schema, "", {})


class _Filler:
    def __init__(self, root: Schema, subject: Subject) -> None:
        self._root, self._subject = root, subject
        self._kinds: dict[str, Callable[[Schema, str, Item], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
            "boolean": self._boolean,
            "null": lambda *_: None,
        }

    def value(self, schema: Schema, name: str, focus: Item) -> Any:
        schema = self._plain(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._choice(schema["enum"], name, focus)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        return self._kinds[kind](schema, name, focus)

    def _plain(self, schema: Schema) -> Schema:
        """References followed, the first real alternative taken."""
        while True:
            if reference := schema.get("$ref"):
                target: Any = self._root
                for step in reference.removeprefix("#/").split("/"):
                    target = target[step]
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
            elif options := schema.get("anyOf") or schema.get("oneOf"):
                rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
                schema = {**rest, **next((one for one in options if one.get("type") != "null"), options[0])}
            elif parts := schema.get("allOf"):
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                schema = {key: value for part in (*parts, rest) for key, value in part.items()}
            else:
                return schema

    def _object(self, schema: Schema, name: str, focus: Item) -> Item:
        region = self._region(name, focus)
        inner = {**focus, "region": region, "in_region": True} if region else focus
        found = self._fact(name, focus)
        if isinstance(found, dict):
            inner = {**inner, **found}
        return {key: self.value(part, key, inner) for key, part in schema.get("properties", {}).items()}

    def _array(self, schema: Schema, name: str, focus: Item) -> list[Any]:
        part = schema.get("items") or {"type": "string"}
        kind = self._plain(part).get("type")
        region = self._region(name, focus)
        if region and kind in ("number", "integer"):
            corners = re.search(r"x2|x_max|xmax|right|corner", f"{name} {schema.get('description', '')}")
            edges = ("left", "top", "right", "low") if corners else ("left", "top", "wide", "high")
            return [self._edge(edge, region, part, f"{schema.get('description', '')}") for edge in edges]
        least, most = _bound(schema, "minItems", 0), _bound(schema, "maxItems", 99)
        found = self._fact(name, focus)
        items = found if isinstance(found, list) else [{}] * 3
        wanted = int(min(most, max(least, min(len(items), _asked(self._subject.question, name)))))
        own = _singular(name)
        return [
            self.value(part, own, {**items[at % len(items)], "direct": own} if items else {}) for at in range(wanted)
        ]

    def _string(self, schema: Schema, name: str, focus: Item) -> str:
        text = self._text(schema, name, focus)
        return text[: int(_bound(schema, "maxLength", 10_000))]

    def _text(self, schema: Schema, name: str, focus: Item) -> str:
        wants_hex = "hex" in f"{name} {schema.get('description', '')} {schema.get('pattern', '')}".lower()
        if "hex" in focus and wants_hex:
            return str(focus["hex"])
        if region := self._region(name, focus):
            return place_in_words(region)
        found = focus if focus.get("direct") == name else self._fact(name, focus)
        if isinstance(found, list):
            found = found[0] if found else {}
        if isinstance(found, dict):
            found = found.get("value")
        if found is None:
            found = focus.get("value") or self._subject.facts["description"]
        return str(found)

    def _number(self, schema: Schema, name: str, focus: Item) -> float:
        region, edge = focus.get("region"), _EDGES.get(name.lower().replace("_", ""))
        if region and edge and (focus.get("in_region") or name.lower() not in ("width", "height") or "type" in focus):
            return self._edge(edge, region, schema, schema.get("description", ""))
        found = self._fact(name, focus)
        value = float(found) if isinstance(found, int | float) else 1.0
        return _within(schema, value)

    def _integer(self, schema: Schema, name: str, focus: Item) -> int:
        return round(self._number({**schema, "type": "integer"}, name, focus))

    def _boolean(self, _: Schema, name: str, focus: Item) -> bool:
        found = self._fact(name, focus)
        if isinstance(found, list):  # "has_defects"
            return bool(self._subject.facts["boxes"])
        return found if isinstance(found, bool) else bool(self._subject.facts["good"])

    def _choice(self, options: list[Any], name: str, focus: Item) -> Any:
        found = self._fact(name, focus)
        near = [option for option in options if str(option).lower() == str(found).lower()]
        if near:
            return near[0]
        order = ("minor", "major", "critical")
        if found in order:  # another scale of severity: the same rank
            return options[min(len(options) - 1, order.index(found) * len(options) // 3)]
        if isinstance(self._fact(name, {}), bool):
            return options[0 if self._subject.facts["good"] else -1]
        return options[0]

    def _fact(self, name: str, focus: Item) -> Any:
        for source in (focus, self._subject.facts):
            if name in source:
                return source[name]
            for fact in _SAME:
                if fact in source and _means(name, fact):
                    return source[fact]
        return None

    def _region(self, name: str, focus: Item) -> Region | None:
        region = focus.get("region")
        wanted = _means(name, "region") or _means(name, "boxes")
        return region if wanted and isinstance(region, tuple) else None

    def _edge(self, edge: str, region: Region, schema: Schema, told: str) -> float:
        x, y, w, h = region
        share = {
            "left": x,
            "top": y,
            "wide": w,
            "high": h,
            "right": x + w,
            "low": y + h,
            "mid_x": x + w / 2,
            "mid_y": y + h / 2,
        }
        facts = self._subject.facts
        side = facts["width"] if edge in ("left", "wide", "right", "mid_x") else facts["height"]
        most = _bound(schema, "maximum", 0)
        hints = f"{told} {schema.get('description', '')} {self._subject.question}".lower()
        if "percent" in hints or most == 100:
            return _within(schema, round(share[edge] * 100, 2))
        if most == 1000 or "0-1000" in hints or "0 to 1000" in hints:
            return _within(schema, round(share[edge] * 1000))
        if self._plain(schema).get("type") == "integer" or ("pixel" in hints and most != 1):
            return _within(schema, round(share[edge] * side))
        return _within(schema, round(share[edge], 4))


def _means(name: str, fact: str) -> bool:
    """Whether one of the name's words begins like one that stands for the fact."""
    parts = re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", name).lower())
    return any(part.startswith(_SAME[fact]) for part in parts)


def _bound(schema: Schema, keyword: str, otherwise: float) -> float:
    """From the keyword, or from the description: clients move what is not supported there."""
    if isinstance(value := schema.get(keyword), int | float):
        return value
    told = re.search(rf"{keyword}\W{{1,4}}(-?\d+(?:\.\d+)?)", str(schema.get("description", "")))
    return float(told[1]) if told else otherwise


def _within(schema: Schema, value: float) -> float:
    low = _bound(schema, "minimum", _bound(schema, "exclusiveMinimum", float("-inf")))
    high = _bound(schema, "maximum", _bound(schema, "exclusiveMaximum", float("inf")))
    if value > high and value <= 1.0 <= 100 * high:
        return high
    return min(max(value, low), high)


def _asked(question: str, name: str) -> int:
    """A number close before the word: "five defects", "up to 4 colours"."""
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
    stem = _singular(name.lower())[:5] or "item"
    told = re.search(rf"\b(\d+|{'|'.join(words)})\b[\w\s-]{{0,24}}\b{re.escape(stem)}", question.lower())
    if told is None:
        return 5
    return int(told[1]) if told[1].isdigit() else words[told[1]]


def _singular(name: str) -> str:
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name
