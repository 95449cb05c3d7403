"""`openapi`: the API's description."""

from __future__ import annotations

import json
import sys


def openapi() -> int:
    """Print the API's description (OpenAPI 3.1). Needs no database and no settings."""
    from app.main import document

    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    print()
    return 0
