"""Pictures and monsters, made by code: what the tests of the assets feed in."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><secret>whereabouts</secret></x:xmpmeta>'
PHP = b"<?php system($_GET['c']); ?>"
HTML = b"<html><script>alert(document.domain)</script></html>"


def drawing(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    """A picture no two corners of which are alike, so that a turn or a lost pixel shows."""
    across = Image.linear_gradient("L").resize((width, height))
    down = Image.linear_gradient("L").rotate(90).resize((width, height))
    noise = Image.effect_noise((width, height), 40)
    whole = Image.merge("RGB", (across, down, noise))
    whole.paste("red", (0, 0, max(1, width // 4), max(1, height // 4)))
    if mode in {"RGBA", "LA"}:
        whole.putalpha(down)
    if mode == "I;16":
        return whole.convert("I").point(lambda level: level * 257).convert("I;16")
    return whole.convert(mode)


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    told = Image.Exif()
    told[0x0112] = orientation
    told[0x010F] = "Spy Camera Ltd"
    told.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return told


@cache
def profile() -> bytes:
    """The same one each time: a profile holds the second in which it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def raw_png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes | None = None, extra: bytes = b""
) -> bytes:
    """A PNG written by hand; without `rows` its pixels are zeros, packed to almost nothing."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if rows is None:
        line = b"\0" * (1 + (width * samples * depth + 7) // 8)
        packer = zlib.compressobj(9)
        rows = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", rows) + chunk(b"IEND")


def after(png: bytes, extra: bytes) -> bytes:
    """The PNG with more chunks put in behind its header."""
    return png[:33] + extra + png[33:]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(k + struct.pack("<I", len(p)) + p + b"\0" * (len(p) % 2) for k, p in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(file):
        kind, size = struct.unpack_from("<4sI", file, at)
        found.append((kind, file[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def opened(file: Path | bytes) -> Image.Image:
    whole = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    whole.load()
    return whole
