"""The sandbox with a coarse film in its camera, so that its JPEGs weigh what photographs do: 300 kB of 1024 x 1024.
`python -m tests.bench.grainy`, as `python -m app.sandbox`.
"""

import sys

from PIL import Image

from app.sandbox import __main__
from app.sandbox.pictures import painter

GRAIN = 0.1
_draw = painter.draw


def grainy(scene: painter.Scene) -> Image.Image:
    picture = _draw(scene)
    noise = [Image.effect_noise(picture.size, 100) for _ in range(3)]
    return Image.blend(picture.convert("RGB"), Image.merge("RGB", noise), GRAIN)


if __name__ == "__main__":
    vars(painter)["draw"] = grainy
    sys.exit(__main__.main())
