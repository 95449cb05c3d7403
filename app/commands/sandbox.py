"""`sandbox`: the local fal, as a program of its own."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

sandbox = App(name="sandbox", help_flags=[], version_flags=[])


@sandbox.default
def start(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Only the local fal and Claude: its own --help says what it can do."""
    from app.sandbox.__main__ import main

    sys.argv[1:] = arguments
    return main("darkroom sandbox")
