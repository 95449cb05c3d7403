"""What is ordered from the studio, and what comes back."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

Deed = Literal["draw", "edit", "cut_out", "enlarge"]


class BadPicture(Exception):
    """With fal's error type, which reference it was, and its ctx."""

    def __init__(self, kind: str, message: str, which: int, ctx: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.kind, self.which, self.ctx = kind, which, ctx


@dataclass(frozen=True)
class Order:
    deed: Deed
    model: str
    prompt: str
    seed: int
    kind: str  # jpeg, png, webp, gif
    size: tuple[int, int] | None = None  # None: as the reference
    references: tuple[bytes, ...] = ()
    mask: bytes | None = None
    factor: float = 1.0
    with_mask: bool = False
    black: bool = False

    @property
    def key(self) -> str:
        parts = [hashlib.sha256(data).hexdigest() for data in (*self.references, self.mask or b"")]
        plain = (
            self.deed,
            self.model,
            self.prompt,
            self.seed,
            self.kind,
            self.size,
            self.factor,
            self.with_mask,
            self.black,
        )
        return repr((plain, parts))


@dataclass(frozen=True)
class Painted:
    """Something that was painted on purpose, and where: the truth that found boxes are measured by."""

    name: str
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Picture:
    data: bytes
    kind: str
    width: int
    height: int
    likeness: str
    thumb: str
    boxes: tuple[Painted, ...] = field(default=())

    @property
    def content_type(self) -> str:
        return f"image/{self.kind}"
