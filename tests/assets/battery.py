"""The upload battery: what an unkind person may send. Each case is a name, the file, and whether it is a picture
that has to be taken ("kept"), one that must be refused ("refused"), or one where either is right as long as nothing
breaks ("any").
"""

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from tests.assets.pictures import (
    HTML,
    PHP,
    XMP,
    after,
    chunk,
    drawing,
    encoded,
    exif,
    profile,
    raw_png,
    riff,
    segment,
    webp_chunks,
)

KEPT, REFUSED, ANY = "kept", "refused", "any"


@dataclass(frozen=True)
class Case:
    name: str
    file: bytes
    fate: str


def battery() -> list[Case]:
    parts = (_bombs, _truncations, _polyglots, _metadata, _odd_but_honest, _not_pictures, _lies, _mutations)
    return [case for part in parts for case in part()]


def _bombs() -> Iterator[Case]:
    yield Case("bomb-png-49-mpx", raw_png(7000, 7000, depth=1, colour=0), REFUSED)
    yield Case("bomb-png-400-mpx", raw_png(20_000, 20_000, depth=1, colour=0), REFUSED)
    yield Case("bomb-png-2-giga", raw_png(0x7FFFFFFF, 0x7FFFFFFF, rows=zlib.compress(b"\0" * 99)), REFUSED)
    yield Case(
        "bomb-png-interlaced", _interlaced(raw_png(6000, 6000, depth=8, colour=6, rows=zlib.compress(b""))), REFUSED
    )
    yield Case("bomb-png-rows-without-end", raw_png(10, 10, rows=_zeros(100_000_000)), ANY)
    yield Case("bomb-png-icc", after(raw_png(9, 9), chunk(b"iCCP", b"x\0\0" + _zeros(200_000_000))), ANY)
    yield Case("bomb-png-ztxt", after(raw_png(9, 9), chunk(b"zTXt", b"x\0\0" + _zeros(200_000_000))), KEPT)
    yield Case("bomb-png-itxt", after(raw_png(9, 9), chunk(b"iTXt", b"x\0\1\0\0\0" + _zeros(200_000_000))), KEPT)
    yield Case("bomb-webp", encoded(Image.new("RGB", (16_000, 16_000)), "WEBP", lossless=True, quality=0), REFUSED)
    yield Case("bomb-jpeg", _resized_jpeg(65_500, 65_500), REFUSED)
    yield Case("bomb-avif-lies", encoded(drawing(), "AVIF").replace(b"ispe", b"ispe", 1)[:-40], ANY)
    yield Case("bomb-gzip", gzip.compress(bytes(30_000_000)), REFUSED)
    yield Case("bomb-nested", _zip(_zip(gzip.compress(bytes(9_000_000)))), REFUSED)
    yield Case("bomb-scans", _many_scans(), ANY)
    yield Case("line-65535", raw_png(65_535, 1), KEPT)
    yield Case("line-65535-down", raw_png(1, 65_535), KEPT)
    yield Case("line-65536", raw_png(65_536, 1), REFUSED)
    yield Case("zero-width", raw_png(0, 5, rows=zlib.compress(b"")), REFUSED)


def _truncations() -> Iterator[Case]:
    noisy = drawing(110, 90)
    for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
        whole = encoded(noisy, kind, quality=95)
        for length in range(0, len(whole) - 1, 1024):
            yield Case(f"cut-{kind}-{length}", whole[:length], REFUSED if kind != "AVIF" else ANY)
    progressive = encoded(noisy, "JPEG", quality=95, progressive=True)
    for length in range(1024, len(progressive) - 1, 1024):
        yield Case(f"cut-and-ended-{length}", progressive[:length] + b"\xff\xd9", ANY)


def _polyglots() -> Iterator[Case]:
    png, jpeg, webp = encoded(drawing(), "PNG"), encoded(drawing(), "JPEG"), encoded(drawing(), "WEBP")
    jar = _zip(b"class Evil")
    yield Case("gifar", b"GIF89a\1\0\1\0\0\0\0;" + jar, REFUSED)
    yield Case("png-jar", png + jar, KEPT)
    yield Case("png-html", png + HTML, KEPT)
    yield Case("png-html-text", after(png, chunk(b"tEXt", b"Comment\0" + HTML)), KEPT)
    yield Case("png-html-in-unknown", after(png, chunk(b"htML", HTML)), KEPT)
    yield Case("png-critical-unknown", after(png, chunk(b"HTML", HTML)), REFUSED)
    yield Case("jpeg-php", jpeg + PHP, KEPT)
    yield Case("jpeg-php-comment", jpeg[:2] + segment(0xFE, PHP) + jpeg[2:], KEPT)
    yield Case("jpeg-php-exif", encoded(drawing(), "JPEG", exif=_exif_saying(PHP)), KEPT)
    yield Case("webp-js", riff(*webp_chunks(webp), (b"EVIL", HTML)) + HTML, KEPT)
    yield Case("pdf-in-jpeg", jpeg[:2] + segment(0xFE, b"%PDF-1.4\n1 0 obj") + jpeg[2:] + b"%%EOF", KEPT)
    yield Case("html-in-front", HTML + png, REFUSED)
    yield Case("zip-in-front", jar + png, REFUSED)
    yield Case("two-jpegs", jpeg + jpeg, KEPT)
    yield Case("svg-named-png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", REFUSED)


def _metadata() -> Iterator[Case]:
    for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
        yield Case(f"gps-{kind}", encoded(drawing(), kind, exif=exif(), xmp=XMP), KEPT)
        for turn in (3, 6, 7):
            yield Case(f"turned-{turn}-{kind}", encoded(drawing(), kind, exif=exif(turn)), KEPT)
        yield Case(f"profile-{kind}", encoded(drawing(), kind, icc_profile=profile()), KEPT)
        yield Case(f"profile-broken-{kind}", encoded(drawing(), kind, icc_profile=b"\0" * 3000), KEPT)
        yield Case(f"profile-large-{kind}", encoded(drawing(), kind, icc_profile=profile() + bytes(900_000)), ANY)
    jpeg = encoded(drawing(), "JPEG")
    for number, told in enumerate(
        (b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0\1\0" + bytes(3))
    ):
        yield Case(f"exif-broken-{number}", jpeg[:2] + segment(0xE1, b"Exif\0\0" + told) + jpeg[2:], KEPT)
    yield Case("exif-loop", jpeg[:2] + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0") + jpeg[2:], KEPT)
    pieces = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 255)) + bytes(60_000)) for n in range(1, 50))
    yield Case("profile-in-missing-pieces", jpeg[:2] + pieces + jpeg[2:], ANY)
    yield Case("turned-cmyk", encoded(drawing(mode="CMYK"), "JPEG", exif=exif(6)), REFUSED)


def _odd_but_honest() -> Iterator[Case]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield Case(f"png-{mode}", encoded(drawing(mode=mode), "PNG"), KEPT)
    for depth, colour in ((16, 0), (16, 2), (16, 4), (16, 6), (2, 0), (4, 0)):
        yield Case(f"png-{depth}-{colour}", raw_png(33, 21, depth=depth, colour=colour), KEPT)
    for mode in ("L", "RGB", "CMYK"):
        yield Case(f"jpeg-{mode}", encoded(drawing(mode=mode), "JPEG"), KEPT)
        yield Case(f"jpeg-progressive-{mode}", encoded(drawing(mode=mode), "JPEG", progressive=True), KEPT)
    yield Case("one-pixel", raw_png(1, 1), KEPT)
    yield Case("large", raw_png(6300, 6300, colour=0), KEPT)
    yield Case("webp-lossless", encoded(drawing(mode="RGBA"), "WEBP", lossless=True), KEPT)
    for kind, words in (("PNG", "apng"), ("WEBP", "webp"), ("AVIF", "avif")):
        out = io.BytesIO()
        drawing().save(out, kind, save_all=True, append_images=[drawing()], duration=50)
        yield Case(f"moving-{words}", out.getvalue(), REFUSED)


def _not_pictures() -> Iterator[Case]:
    for kind in ("GIF", "TIFF", "BMP", "PPM", "ICO", "PDF", "EPS", "TGA", "JPEG2000"):
        yield Case(f"other-{kind}", encoded(drawing(), kind), REFUSED)
    for name, file in {
        "empty": b"",
        "one-byte": b"\x89",
        "nul": bytes(5000),
        "text": b"hello " * 1000,
        "json": b'{"url": "x"}',
        "exe": b"MZ\x90\0" + bytes(900),
        "elf": b"\x7fELF" + bytes(900),
        "mp4": b"\0\0\0\x18ftypisom" + bytes(900),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(900),
        "psd": b"8BPS\0\1" + bytes(900),
        "xbm": b"#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {0};",
        "entities": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"b" * 999 + b'">]><svg>&b;</svg>',
    }.items():
        yield Case(name, file, REFUSED)


def _lies() -> Iterator[Case]:
    png, jpeg, webp = encoded(drawing(), "PNG"), encoded(drawing(), "JPEG"), encoded(drawing(), "WEBP")
    yield Case("png-magic-only", png[:8], REFUSED)
    yield Case("png-magic-jpeg-body", png[:8] + jpeg, REFUSED)
    yield Case("jpeg-magic-png-body", jpeg[:3] + png, REFUSED)
    yield Case("webp-magic-png-body", webp[:12] + png, REFUSED)
    yield Case("png-wrong-size", png[:16] + struct.pack(">II", 500, 500) + png[24:], REFUSED)
    yield Case("png-wrong-sum", png[:60] + bytes((png[60] ^ 255,)) + png[61:], REFUSED)
    yield Case("png-length-of-4-gb", png[:33] + b"\xff\xff\xff\xff" + png[37:], REFUSED)
    yield Case("png-two-heads", after(png, png[8:33]), REFUSED)
    yield Case("png-no-rows", png[:33] + chunk(b"IEND"), REFUSED)
    yield Case("jpeg-no-tables", jpeg[:20] + jpeg[jpeg.index(b"\xff\xda") :], REFUSED)
    yield Case("jpeg-segment-too-short", jpeg[:2] + b"\xff\xe1\0\1" + jpeg[2:], REFUSED)
    yield Case("webp-riff-of-4-gb", webp[:4] + b"\xff\xff\xff\xff" + webp[8:], ANY)
    yield Case(
        "webp-two-pictures", riff(*webp_chunks(webp), *webp_chunks(encoded(drawing(), "WEBP", lossless=True))), REFUSED
    )
    yield Case("parts-a-million", after(png, chunk(b"ruSt") * 400_000), REFUSED)


def _mutations() -> Iterator[Case]:
    """Bytes changed at random, from a seed."""
    chance = random.Random(7)
    for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
        whole = encoded(drawing(60, 40), kind, exif=exif(6))
        for number in range(15):
            bent = bytearray(whole)
            for _ in range(chance.choice((1, 3, 20))):
                bent[chance.randrange(len(bent))] = chance.randrange(256)
            yield Case(f"bent-{kind}-{number}", bytes(bent), ANY)


def _zeros(count: int) -> bytes:
    packer, block = zlib.compressobj(9), bytes(1_000_000)
    return b"".join(packer.compress(block) for _ in range(count // len(block))) + packer.flush()


def _interlaced(png: bytes) -> bytes:
    head = png[16:28] + b"\1"
    return png[:8] + chunk(b"IHDR", head) + png[33:]


def _resized_jpeg(width: int, height: int) -> bytes:
    jpeg = encoded(drawing(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan comes over and over again, each one a walk over all of its pixels."""
    jpeg = encoded(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * 400 + b"\xff\xd9"


def _exif_saying(words: bytes) -> Image.Exif:
    told = Image.Exif()
    told[0x010E] = words.decode()
    return told


def _zip(inner: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", inner)
    return out.getvalue()
