import io
import re
import struct
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from app.assets.containers import Kind, clean, sniff
from app.assets.metadata import MADE_BY_AI, orientation
from app.assets.pieces import NotAPicture
from app.core.errors import StorageFull
from tests.assets.pictures import (
    HTML,
    PHP,
    XMP,
    after,
    chunk,
    drawing,
    encoded,
    exif,
    opened,
    profile,
    raw_png,
    riff,
    segment,
    webp_chunks,
)

FORMATS = {
    "png": encoded(drawing(), "PNG"),
    "png-alpha": encoded(drawing(mode="RGBA"), "PNG"),
    "png-palette": encoded(drawing(mode="P"), "PNG", transparency=3),
    "png-16-bit": encoded(drawing(mode="I;16"), "PNG"),
    "png-interlaced-bits": encoded(drawing(mode="1"), "PNG"),
    "jpeg": encoded(drawing(), "JPEG"),
    "jpeg-progressive": encoded(drawing(), "JPEG", progressive=True, quality=95),
    "jpeg-grey": encoded(drawing(mode="L"), "JPEG"),
    "jpeg-cmyk": encoded(drawing(mode="CMYK"), "JPEG"),
    "jpeg-restarts": encoded(drawing(), "JPEG", restart_marker_blocks=2),
    "webp": encoded(drawing(), "WEBP"),
    "webp-lossless": encoded(drawing(), "WEBP", lossless=True),
    "webp-lossless-alpha": encoded(drawing(mode="RGBA"), "WEBP", lossless=True),
    "webp-alpha": encoded(drawing(mode="RGBA"), "WEBP"),
    "webp-profile": encoded(drawing(), "WEBP", icc_profile=profile()),
    "jpeg-profile": encoded(drawing(), "JPEG", icc_profile=profile()),
    "png-profile": encoded(drawing(), "PNG", icc_profile=profile()),
}


def cleaned(file: bytes, folder: Path, *, mark: bool = False) -> bytes:
    (folder / "in").write_bytes(file)
    clean(folder / "in", folder / "out", mark=mark)
    return (folder / "out").read_bytes()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mark", [False, True])
def test_cleaning_and_marking_change_no_pixel_and_no_profile(name: str, mark: bool, tmp_path: Path) -> None:
    before, now = opened(FORMATS[name]), opened(cleaned(FORMATS[name], tmp_path, mark=mark))
    assert (now.mode, now.size, now.tobytes()) == (before.mode, before.size, before.tobytes())
    assert now.info.get("icc_profile") == before.info.get("icc_profile")
    assert now.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_a_marked_file_says_that_a_machine_made_it(name: str, tmp_path: Path) -> None:
    packet = opened(cleaned(FORMATS[name], tmp_path, mark=True)).info["xmp"].decode()
    assert re.search(r"<Iptc4xmpExt:DigitalSourceType>(.*)</Iptc4xmpExt:DigitalSourceType>", packet)[1] == MADE_BY_AI  # type: ignore[index]


@pytest.mark.parametrize("name", FORMATS)
def test_marking_twice_leaves_one_mark(name: str, tmp_path: Path) -> None:
    once = cleaned(FORMATS[name], tmp_path, mark=True)
    assert cleaned(once, tmp_path, mark=True) == once


@pytest.mark.parametrize("name", FORMATS)
def test_cleaning_is_finished_after_the_first_time(name: str, tmp_path: Path) -> None:
    once = cleaned(FORMATS[name], tmp_path)
    assert cleaned(once, tmp_path) == once


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_metadata_is_gone_and_the_profile_stays(format: str, tmp_path: Path) -> None:
    file = encoded(drawing(), format, exif=exif(), xmp=XMP, icc_profile=profile(), comment=b"call me", dpi=(300, 300))
    out = cleaned(file, tmp_path)
    assert b"Spy Camera" in file
    for trace in (b"Spy Camera", b"whereabouts", b"call me", b"Exif", b"eXIf", b"EXIF"):
        assert trace not in out
    assert opened(out).info["icc_profile"] == profile()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_bytes_after_the_end_are_dropped(format: str, tmp_path: Path) -> None:
    file = encoded(drawing(), format)
    assert cleaned(file + PHP + HTML + b"PK\x03\x04" * 99, tmp_path) == cleaned(file, tmp_path)


def test_stowaways_inside_a_png_are_dropped(tmp_path: Path) -> None:
    png = encoded(drawing(), "PNG")
    loaded = after(png, chunk(b"tEXt", b"Comment\0" + PHP) + chunk(b"gAMA", HTML) + chunk(b"ruSt", HTML))
    assert cleaned(loaded, tmp_path) == png
    assert cleaned(png[:-12] + chunk(b"IEND", HTML), tmp_path) == png


def test_stowaways_inside_a_jpeg_are_dropped(tmp_path: Path) -> None:
    jpeg = encoded(drawing(), "JPEG")
    payloads = ((0xFE, b""), (0xED, b"Photoshop 3.0\0"), (0xE2, b"MPF\0"), (0xE0, b"JFXX\0"))
    hidden = b"".join(segment(marker, name + PHP) for marker, name in payloads)
    assert cleaned(jpeg[:2] + hidden + jpeg[2:], tmp_path) == jpeg
    thumbnailed = jpeg[:2] + segment(0xE0, jpeg[6:18] + b"\x03\x03" + b"\x07" * 27) + jpeg[20:]
    assert cleaned(thumbnailed, tmp_path) == jpeg


def test_stowaways_inside_a_webp_are_dropped(tmp_path: Path) -> None:
    webp = encoded(drawing(), "WEBP")
    picture = webp_chunks(webp)
    assert cleaned(riff(*picture, (b"PHP ", PHP), (b"XMP ", XMP)), tmp_path) == webp


def test_fill_bytes_between_segments_are_legal(tmp_path: Path) -> None:
    jpeg = encoded(drawing(), "JPEG")
    assert cleaned(jpeg[:2] + b"\xff\xff\xff" + jpeg[2:], tmp_path) == jpeg


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_orientation_is_read_before_it_is_dropped(format: str, turn: int, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(drawing(), format, exif=exif(turn)))
    assert clean(tmp_path / "in", tmp_path / "out").orientation == turn


def test_orientation_is_read_in_both_byte_orders_and_never_fails() -> None:
    little = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHH", 1, 0x0112, 3, 1, 6, 0)
    big = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 8, 0)
    assert (orientation(little), orientation(b"Exif\0\0" + big)) == (6, 8)
    for broken in (
        b"",
        b"II*\0",
        little[:-8],
        b"II*\0\xff\xff\xff\xff",
        little[:8] + b"\xff\xff" + little[10:12],
        b"GIF89a",
    ):
        assert orientation(broken) == 1
    assert orientation(little.replace(b"\x06", b"\x09")) == 1


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b"GIF89a" + b"\0" * 60, "GIF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><svg/>", "SVG"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avifmif1", "film"),
        (b"RIFF\0\0\0\0WAVE", "not a picture"),
        (b"MZ\x90\0", "not a picture"),
    ],
)
def test_what_is_not_taken_is_named(head: bytes, words: str) -> None:
    with pytest.raises(NotAPicture, match=words):
        sniff(head)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_content_decides_what_a_file_is(format: str) -> None:
    assert sniff(encoded(drawing(), format)[:64]) is Kind[format]


def test_moving_pictures_are_refused(tmp_path: Path) -> None:
    frames = [drawing(), drawing().transpose(Image.Transpose.ROTATE_180)]
    for kind in ("PNG", "WEBP"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=100)
        with pytest.raises(NotAPicture, match="Animated"):
            cleaned(out.getvalue(), tmp_path)


@pytest.mark.parametrize("name", ["png", "jpeg", "jpeg-progressive", "webp", "webp-alpha"])
def test_every_cut_is_noticed_or_ends_in_a_file_that_still_says_what_it_lacks(name: str, tmp_path: Path) -> None:
    file = FORMATS[name]
    for length in range(0, len(file) - 1, max(1, len(file) // 60)):
        with pytest.raises(NotAPicture):
            cleaned(file[:length], tmp_path)


def test_a_file_of_a_million_parts_is_refused_quickly(tmp_path: Path) -> None:
    png, jpeg, webp = encoded(drawing(), "PNG"), encoded(drawing(), "JPEG"), encoded(drawing(), "WEBP")
    heaps = [
        after(png, chunk(b"ruSt") * 300_000),
        after(png, (chunk(b"ruSt") + chunk(b"gAMA", b"\0\0\0\1")) * 60_000),
        jpeg[:2] + segment(0xFE, b"") * 300_000 + jpeg[2:],
        jpeg[:2] + b"\xff" * 3_000_000 + jpeg[2:],
        riff(*((b"ruSt", b""),) * 300_000, *webp_chunks(webp)),
    ]
    for heap in heaps:
        with pytest.raises(NotAPicture):
            cleaned(heap, tmp_path)


def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    noise = Image.effect_noise((3000, 3000), 100)
    peaks = []
    for size in (300, 3000):
        for kind in ("PNG", "JPEG", "WEBP"):
            (tmp_path / kind).write_bytes(encoded(noise.resize((size, size)), kind))
        tracemalloc.start()
        for kind in ("PNG", "JPEG", "WEBP"):
            clean(tmp_path / kind, tmp_path / "out", mark=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2_000_000


def test_a_full_disk_is_told_apart_from_a_bad_picture(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(raw_png(64, 64))
    with pytest.raises(StorageFull):
        clean(tmp_path / "in", Path("/dev/full"))
