"""`breezeblock backup` on the command line. What its commands do is in modules of their own, loaded when called."""

import typer

from breezeblock.commands.policy_app import policy_app
from breezeblock.commands.verify_app import checks, restore, verify

__all__ = ["backup_app"]

backup_app = typer.Typer(
    help="What operators do about backups; users have the API.", no_args_is_help=True, rich_markup_mode=None
)
backup_app.add_typer(policy_app, name="policy")
backup_app.command("verify")(verify)
backup_app.command("checks")(checks)
backup_app.command("restore")(restore)
