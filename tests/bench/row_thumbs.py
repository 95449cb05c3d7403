"""Thumbnails: what the darkroom's worker makes of a picture, beside Pillow opening it, resizing it and saving it at the
same size, in the same format. One thread each. `python -m tests.bench.row_thumbs VARIANT FILE SECONDS` is one round.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from app.assets import darkroom_worker as worker
from tests.bench.machine import FIRST, Others, median, pinned, run
from tests.bench.table import Goal, Row, Size
from tests.running import ROOT

GOALS = {"JPEG": Goal(3.5), "PNG": Goal(1.5)}
SIDE = 1024
VARIANTS = ("ours", "plain", "whole")


def thumbs(size: Size, folder: Path) -> Iterator[Row]:
    """A picture of 1024 x 1024 pixels, as models make them."""
    for kind, goal in GOALS.items():
        file = folder / f"picture.{kind.lower()}"
        _paint().save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
        spent: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        with Others([]) as others:
            for _ in range(size.rounds):
                for variant, each in spent.items():
                    command = [sys.executable, "-m", "tests.bench.row_thumbs", variant, str(file), str(size.seconds)]
                    each.append(float(run(pinned(FIRST, command), ROOT)))
        _alike(file, folder)
        ours, plain, whole = (median(spent[variant]) for variant in VARIANTS)
        yield Row(
            f"thumbnail of a {kind}",
            "a second",
            ours=1 / ours,
            against="Pillow resize",
            baseline=1 / plain,
            ratio=plain / ours,
            cpu_ratio=plain / ours,
            goal=goal,
            others=others.cores,
            twin=f"both WebP of {worker.THUMBNAIL} pixels, and nearly the same picture",
            more={"with_colour_and_placeholder": round(1 / whole, 1), "picture_kb": file.stat().st_size // 1000},
        )


def _paint() -> Image.Image:
    """Large shapes and a grain, so that it weighs what a photograph weighs."""
    shapes = Image.effect_mandelbrot((SIDE, SIDE), (-2.2, -1.3, 0.8, 1.3), 90)
    grain = [Image.blend(shapes, Image.effect_noise((SIDE, SIDE), 40), share) for share in (0.1, 0.2, 0.3)]
    return Image.merge("RGB", grain)


def _alike(file: Path, folder: Path) -> None:
    """The twin: the same size and format, and pixels that differ little on average."""
    made = [folder / "ours.webp", folder / "plain.webp"]
    _ours(file, str(made[0]))
    _plain(file, str(made[1]))
    with Image.open(made[0]) as one, Image.open(made[1]) as other:
        assert one.format == other.format == "WEBP"
        assert one.size == other.size
        [mean] = ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean
    assert mean < 8, f"{mean} levels apart"


def _seconds_each(act: Callable[[], object], seconds: float) -> float:
    """CPU for one."""
    act()
    before, until, count = time.process_time(), time.process_time() + seconds, 0
    while time.process_time() < until:
        act()
        count += 1
    return (time.process_time() - before) / count


def _ours(file: Path, thumbnail: str) -> None:
    with Image.open(file) as picture:
        worker._save_thumbnail(worker._small(picture), thumbnail, None)


def _whole(file: Path, thumbnail: str) -> None:
    kind = {"jpeg": "JPEG", "png": "PNG"}[file.suffix[1:]]
    asked = {"source": str(file), "format": kind, "orientation": 1, "thumbnail": thumbnail, "max_pixels": 10**8}
    worker.develop(asked)


def _plain(file: Path, thumbnail: str) -> None:
    with Image.open(file) as picture:
        small = picture.convert("RGB").resize((worker.THUMBNAIL, worker.THUMBNAIL), Image.Resampling.LANCZOS)
        small.save(thumbnail, "WEBP", quality=80)


if __name__ == "__main__":
    chosen, source, time_given = sys.argv[1:]
    made = {"ours": _ours, "plain": _plain, "whole": _whole}[chosen]
    Image.init()
    with tempfile.NamedTemporaryFile(suffix=".webp") as out:
        print(json.dumps(_seconds_each(lambda: made(Path(source), out.name), float(time_given))))
