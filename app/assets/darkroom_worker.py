"""The process in which strangers' pictures are decoded: the only place that loads Pillow. It is started as a script of
its own (`darkroom.py` beside it does that), knows nothing of the service, has an empty environment and little memory,
and answers one line of JSON for each line of JSON it is asked. When it dies, nothing else does.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import resource
import signal
import sys
import warnings
from typing import Any

from PIL import AvifImagePlugin, Image, ImageFile, ImageOps

LONGEST_LINE = 65_535
THUMBNAIL = 512
PLACEHOLDER = 16
_SMALL_PROFILE = 4_096
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHRINKS_AS_IT_IS = {"RGB", "RGBA", "L", "CMYK"}
_FITS_A_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refused(Exception):
    """What is wrong with the picture, in words for the person who sent it."""


def main(memory: int, max_pixels: int) -> None:
    """`max_pixels` is Pillow's own limit, the last line; each question names the one that it is judged by."""
    _confine(memory)
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    _say({"ready": True})
    for line in sys.stdin:
        _say(answer(json.loads(line)))


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return develop(asked)
    except Refused as refused:
        return {"refused": str(refused)}
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return {"refused": _too_large(asked["max_pixels"])}
    except MemoryError:
        return {"refused": "Decoding the picture takes too much memory."}
    except OSError as error:
        return {"full": True} if error.errno in _FULL else {"refused": "The picture is broken: it cannot be decoded."}
    except Exception:  # noqa: BLE001  # whatever a decoder stumbles over, it is the picture's fault
        return {"refused": "The picture is broken: it cannot be decoded."}


def develop(asked: dict[str, Any]) -> dict[str, Any]:
    """Decode `source`, which must be of `format`; write its thumbnail, and itself as a PNG when it has to be turned
    upright or is an AVIF."""
    with Image.open(asked["source"], formats=(asked["format"],)) as picture:
        _measure(picture, asked["max_pixels"])
        turn = asked["format"] == "AVIF" or asked["orientation"] != 1
        whole = _upright(picture, asked) if turn else picture
        width, height = whole.size
        small = _small(whole)
        _save_thumbnail(small, asked["thumbnail"], picture.info.get("icc_profile"))
    return {
        "width": width,
        "height": height,
        "turned": turn,
        "colour": _dominant(small),
        "placeholder": _placeholder(small),
    }


def _measure(picture: Image.Image, max_pixels: int) -> None:
    """Refuse by the header alone, before anything is decoded."""
    if getattr(picture, "is_animated", False):
        raise Refused("Moving pictures are not taken; send a single picture.")
    if max(picture.size) > LONGEST_LINE:
        raise Refused(f"The picture is longer than {LONGEST_LINE} pixels.")
    if picture.width * picture.height > max_pixels:
        raise Refused(_too_large(max_pixels))


def _too_large(max_pixels: int) -> str:
    return f"The picture has more than {max_pixels / 1e6:g} million pixels."


def _upright(picture: ImageFile.ImageFile, asked: dict[str, Any]) -> Image.Image:
    if asked["format"] == "AVIF":
        whole = ImageOps.exif_transpose(picture)  # Pillow tells an AVIF's own rotation as if it were EXIF
    else:
        sixteen = picture.mode != "I;16" and any(";16" in str(tile.args) for tile in picture.tile)
        if sixteen or picture.mode not in _FITS_A_PNG:
            raise Refused("This kind of picture cannot be turned upright without loss; send it upright.")
        whole = picture.transpose(_TURNS[asked["orientation"]])
    whole.save(asked["upright"], "PNG", compress_level=1, icc_profile=picture.info.get("icc_profile"))
    return whole


def _small(picture: Image.Image) -> Image.Image:
    """At most 512 pixels long, RGB or RGBA. Shrinking first lets a JPEG be decoded at a fraction of its size."""
    if picture.mode == "I;16":
        picture = picture.point(lambda level: level * (1 / 256)).convert("L")
    elif picture.mode not in _SHRINKS_AS_IT_IS:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=1.0)  # a JPEG decoded straight to near this size
    picture.load()
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _save_thumbnail(small: Image.Image, path: str, profile: bytes | None) -> None:
    rgb_profile = profile if profile and len(profile) <= _SMALL_PROFILE and profile[16:20] == b"RGB " else b""
    # Method 1 takes less than a third of the default's time, for files that are a tenth larger.
    small.save(path, "WEBP", quality=80, method=1, icc_profile=rgb_profile, exif=b"", xmp=b"")


def _dominant(small: Image.Image) -> str:
    """The colour of the largest group of similar pixels, on white where the picture is transparent."""
    sample = small.resize((32, 32), Image.Resampling.BOX).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", sample.size, "white"), sample).convert("RGB")
    groups = flat.quantize(6)
    counts = groups.histogram()
    largest = counts.index(max(counts))
    return "#" + bytes((groups.getpalette() or [])[3 * largest : 3 * largest + 3]).hex()


def _placeholder(small: Image.Image) -> str:
    """A blurred idea of the picture as a data URI, shown until the thumbnail has come."""
    tiny = small.copy()
    tiny.thumbnail((PLACEHOLDER, PLACEHOLDER))
    out = io.BytesIO()
    tiny.save(out, "WEBP", quality=30, icc_profile=b"", exif=b"", xmp=b"")
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def _confine(memory: int) -> None:
    """Little memory, no core files with other people's pictures, and Ctrl-C is the parent's to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # macOS refuses this one
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(memory=int(sys.argv[1]), max_pixels=int(sys.argv[2]))
