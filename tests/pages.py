"""The commands that stand in a page, and running them as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def section(page: Path, heading: str) -> str:
    """From that heading to the next one of its kind."""
    text = f"\n{page.read_text()}\n"
    mark = heading.partition(" ")[0]
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"{page.name} has no {heading!r}"
    return re.split(rf"\n#{{1,{len(mark)}}} ", rest)[0]


def blocks(text: str) -> list[str]:
    """What stands there to be typed."""
    return _BLOCK.findall(text)


def typed(script: str, folder: Path, environment: Mapping[str, str], within: float = 120) -> tuple[int, str, str]:
    """Type it in that folder: the exit code, and what was said. It ends at the first command that fails."""
    program = f"{sys.executable} -m app"
    script = re.sub(r"(?<![\w/])(\.venv/bin/)?darkroom (?=[a-z])", f"{program} ", script)
    script = re.sub(r"(?<![\w/])deploy/(?=[a-z]+ )", f"{ROOT}/deploy/", script)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr
