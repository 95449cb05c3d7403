"""From a stranger's file to a clean one, without touching a pixel: what it is, told from its content; metadata and
trailing bytes dropped; the "made by AI" mark put in where asked. Nothing is decoded here, that is the darkroom's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from app.assets import jpeg, png, webp
from app.assets.pieces import Layout, NotAPicture, compose
from app.ports import Digest


class Kind(StrEnum):
    """The formats that are taken; the value is the content type, told from the bytes and never from a name."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    AVIF = "image/avif"

    @property
    def extension(self) -> str:
        return {"image/jpeg": "jpg"}.get(self.value, self.value.removeprefix("image/"))


@dataclass(frozen=True)
class Cleaned:
    """`orientation` is what the dropped EXIF asked for: 1 is upright."""

    kind: Kind
    orientation: int
    digest: Digest


def clean(source: Path, target: Path, *, mark: bool = False) -> Cleaned:
    """Write the clean form of `source` to `target`. An AVIF is copied as it is: the darkroom makes a PNG of it.

    Raises:
        NotAPicture: it is no PNG, JPEG, WebP or AVIF, moves, or is broken.
        StorageFull: there is no room for it.
    """
    with source.open("rb") as file:
        kind = sniff(file.read(64))
        layout = _layout(file, kind, mark=mark)
        return Cleaned(kind, layout.orientation, compose(file, layout, target))


def sniff(head: bytes) -> Kind:
    """What a file is, from its first 64 bytes.

    Raises:
        NotAPicture: it is something else; the reason says what, where that can be told.
    """
    if head.startswith(png.SIGNATURE):
        return Kind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if head[4:8] == b"ftyp" and head[8:12] != b"avis" and b"avif" in _brands(head):
        return Kind.AVIF
    raise NotAPicture(f"{_guess(head)} PNG, JPEG, WebP and AVIF are taken.")


def _brands(head: bytes) -> set[bytes]:
    box = head[: int.from_bytes(head[:4], "big")]
    return {box[at : at + 4] for at in (8, *range(16, len(box), 4))}


_OTHERS = (
    (b"GIF8", "This is a GIF."),
    (b"%PDF", "This is a PDF."),
    (b"BM", "This is a BMP."),
    (b"II*\0", "This is a TIFF."),
    (b"MM\0*", "This is a TIFF."),
    (b"8BPS", "This is a Photoshop file."),
    (b"<", "This is text (SVG, HTML or XML)."),
    (b"", "This is not a picture of a kind we know."),
)


def _guess(head: bytes) -> str:
    if not head:
        return "The file is empty."
    if head[4:8] == b"ftyp":
        return "This is a film or a HEIC picture."
    return next(words for magic, words in _OTHERS if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic))


def _layout(file: BinaryIO, kind: Kind, *, mark: bool) -> Layout:
    match kind:
        case Kind.PNG:
            return png.layout(file, mark=mark)
        case Kind.JPEG:
            return jpeg.layout(file, mark=mark)
        case Kind.WEBP:
            return webp.layout(file, mark=mark)
        case Kind.AVIF:
            whole = Layout()
            whole.keep(0, file.seek(0, 2))
            return whole
