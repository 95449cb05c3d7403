"""`doctor`: is everything there, and what to do if not."""

from __future__ import annotations

from app.commands.options import World


def doctor(
    *,
    json: bool = False,
    live: bool = False,
    yes: bool = False,
    webhook: str | None = None,
    data: World = None,
) -> int:
    """Look whether everything that is needed is there, and say what to do if not.

    Ends with 0 when nothing fails.

    Args:
        json: Print it for a program.
        live: Also make one real picture with the cheapest model, and write down what fal really answers at each step
            that its documentation leaves open. It spends money, less than a cent, and asks first.
        yes: Do not ask before --live.
        webhook: With --live: a public https address that leads to port 8099 of this machine, to see how fal calls.
    """
    from app.commands.examination import examine, tell_of_settings
    from app.commands.loop import run
    from app.commands.probing import agreed, probe
    from app.commands.worlds import WORLDS, chosen, tell
    from app.settings import SettingsError, read_settings

    try:
        settings = read_settings(data=data)
        if settings.fal_key is None or settings.data.name in WORLDS:
            settings = chosen(settings)
    except SettingsError as wrong:
        return tell_of_settings(wrong, as_json=json)
    tell(settings)
    code = run(examine(settings, as_json=json))
    if not live or code:
        return code
    if not yes and not agreed(settings):
        print("Nothing was sent.")
        return 1
    return run(probe(settings, webhook))
