"""The command line: `python -m app COMMAND`, or `darkroom COMMAND` where it is installed. Each command is a file in
`app/commands`, loaded when it is called.
"""

from __future__ import annotations

import sys

from cyclopts import App, Group, Parameter

from app import __version__

START = Group("Start", sort_key=1)
CARE = Group("Care for an installation", sort_key=2)
USE = Group("Use one", sort_key=3)

COMMANDS: tuple[tuple[str, Group, str], ...] = (
    ("dev", START, "Everything on this machine, with a local fal: nothing to set up, nothing to pay."),
    ("serve", START, "The service: answers HTTP, and does the work unless DARKROOM_RUNNER=none."),
    ("work", START, "Only the work, beside a `serve` with DARKROOM_RUNNER=none."),
    ("sandbox", START, "Only the local fal and Claude, for tests of your own."),
    ("migrate", CARE, "Bring the database to the newest migration."),
    ("doctor", CARE, "Look whether everything that is needed is there, and say what to do if not."),
    ("admin", CARE, "Workspaces, keys, credits, sign-in links."),
    ("verify", CARE, "Recompute every promise that can be recomputed."),
    ("restored", CARE, "Say that the database was restored, so that nothing is bought twice."),
    ("refused", CARE, "List what came as a delivery from fal and was refused."),
    ("redrive", CARE, "Have a completion that was received worked on again."),
    ("openapi", CARE, "Print the API's description (OpenAPI 3.1)."),
    ("submit", USE, "Have pictures made, and watch."),
    ("jobs", USE, "List jobs, newest first."),
    ("watch", USE, "Follow what happens, as it happens."),
)


def build(asked: str = "") -> App:
    """`asked` is the command that was called: its help is what its own docstring says, which only loading it shows."""
    cli = App(
        name="darkroom",
        version=__version__,
        help="Images from fal.ai, made dependable: submit once, and every image arrives once.",
        help_format="plaintext",
        default_parameter=Parameter(negative="", show_default=_default),
    )
    for name, group, words in COMMANDS:
        cli.command(f"app.commands.{name}:{name}", name=name, group=group, help=None if name == asked else words)
    return cli


def _default(value: object) -> str | None:
    """A flag is off unless it is given, and nobody needs to be told; nor of what has no default."""
    return None if value is False or value is None or value == "" else str(value)


def main() -> None:
    from app.settings import SettingsError

    try:
        code = build(asked="".join(sys.argv[1:2]))(result_action="return_value")
    except SettingsError as error:
        print(f"darkroom: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
