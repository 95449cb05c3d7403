"""Options that mean the same in every command that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

World = Annotated[
    Path | None,
    Parameter(
        name="--data",
        help="The data folder, or the world in it: .darkroom/real, .darkroom/sandbox. [default: $DARKROOM_DATA or "
        ".darkroom, and the world that is there or that FAL_KEY or DARKROOM_FAL_URL say; a first line says which]",
    ),
]
"""Which installation on this machine."""
