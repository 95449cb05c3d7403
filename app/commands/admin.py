"""`admin`: what an operator does to an installation, straight on its database."""

from __future__ import annotations

from cyclopts import App

from app.commands.options import World

admin = App(name="admin", help="Workspaces, keys, credits, sign-in links.")
workspace = App(name="workspace", help="The tenants.")
key = App(name="key", help="Keys for programs.")
admin.command(workspace)
admin.command(key)


@workspace.command(name="create")
def create_workspace(name: str, *, test: bool = False, data: World = None) -> int:
    """Make a workspace.

    Args:
        name: What people call it.
        test: It is for trying things out; its keys begin with dk_test_, and it begins with 1,000 credits, as every
            workspace of the sandbox does.
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.create_workspace(data, name, test=test))


@workspace.command(name="list")
def list_workspaces(*, json: bool = False, data: World = None) -> int:
    """Show all workspaces.

    Args:
        json: Print it for a program.
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.list_workspaces(data, as_json=json))


@key.command(name="create")
def create_key(
    workspace: str | None = None,
    *,
    name: str = "made by an operator",
    scopes: str | None = None,
    days: int | None = None,
    operator: bool = False,
    data: World = None,
) -> int:
    """Make a key, and show it this once.

    Args:
        workspace: Whose it is, by id or name.
        name: What it is for.
        scopes: What it may do, as jobs:read,jobs:write. [default: everything in its workspace]
        days: After how many days it expires, at least 1. [default: never]
        operator: It belongs to the installation and may do all that operators may.
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.create_key(data, None if operator else workspace or "", name, scopes, days))


@key.command(name="list")
def list_keys(workspace: str, *, json: bool = False, data: World = None) -> int:
    """Show the keys of a workspace that are not revoked.

    Args:
        json: Print it for a program.
        workspace: Whose; `system` has those of the operators.
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.list_keys(data, workspace, as_json=json))


@key.command(name="revoke")
def revoke_key(key: str, *, data: World = None) -> int:
    """Stop a key. Every process obeys within a second.

    Args:
        key: Its id (key_...), or what it begins with (dk_live_...).
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.revoke_key(data, key))


@admin.command
def grant(workspace: str, credits: int, *, reason: str = "granted by an operator", data: World = None) -> int:
    """Give a workspace credits to spend.

    Args:
        workspace: Who gets them, by id or name.
        credits: How many, at most 1,000,000,000.
        reason: What the ledger says.
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.grant_credits(data, workspace, credits, reason))


@admin.command
def signin(workspace: str | None = None, *, url: str | None = None, data: World = None) -> int:
    """Print a link that signs a browser in, once, within 15 minutes.

    Args:
        workspace: Where to, by id or name. [default: the one that `dev` made, or the only one]
        url: Where the service is reached. [default: $DARKROOM_PUBLIC_URL, or what runs on this machine]
    """
    from app.commands import administration
    from app.commands.loop import run

    return run(administration.print_signin(data, workspace, url))
