"""What `verify` does: the checks that the features declare, one line each."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from app.commands.opened import opened_services
from app.commands.worlds import place
from app.feature import Found

SHOWN = 20


async def check_all(data: Path | None, *, as_json: bool) -> int:
    """0: all holds. 1: something does not. 2: there was nothing to look at."""
    results = []
    async with opened_services(data) as (here, services, features):
        where = place(here.settings)
        for check in (check for feature in features for check in feature.checks):
            found = await check.find(services)
            results.append((check, found))
            if not as_json:
                _say(check.promise, found)
    violations = sum(len(found.violations) for _, found in results)
    looked = sum(found.looked for _, found in results)
    if as_json:
        lines = [{"name": c.name, "promise": c.promise, **asdict(f)} for c, f in results]
        print(json.dumps({"where": where, "looked": looked, "violations": violations, "checks": lines}, indent=1))
    else:
        print(
            f"\nLooked at {looked}, found {violations} wrong."
            if looked
            else f"\nThere was nothing to look at in {where}."
        )
    return 1 if violations else 0 if looked else 2


def _say(promise: str, found: Found) -> None:
    print(f"{'FAILS' if found.violations else 'ok':<5}  {found.looked:>8}  {promise}")
    lines = [*found.violations, *(f"note: {note}" for note in found.notes)]
    for line in lines[:SHOWN]:
        print(f"                 {line}")
    if len(lines) > SHOWN:
        print(f"                 and {len(lines) - SHOWN} more")
