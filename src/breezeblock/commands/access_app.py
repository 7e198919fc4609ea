"""`breezeblock policy` on the command line: who may do what. Policies of backups are `breezeblock backup policy`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breezeblock import settings
from breezeblock.commands.common_options import Config
from breezeblock.commands.failure import Failed

if TYPE_CHECKING:
    from breezeblock.api.policy import Book

__all__ = ["access_app"]

access_app = typer.Typer(
    help="Who may do what: the rules of the API, and the file that overrides them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@access_app.command("list")
def policy_list(config: Config = None, as_json: AsJson = False) -> None:
    """Show every rule, its check in effect, and where that comes from."""
    book, source = _in_effect(config)
    rows = [
        {"rule": name, "check": entry.text, "from": source if entry.from_file else "default"}
        for name, entry in sorted(book.entries.items())
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    from breezeblock.commands.status_view import console

    table = Table("rule", "check", "from")
    for row in rows:
        table.add_row(row["rule"], row["check"] or "(anybody)", row["from"])
    console().print(table)


@access_app.command("show")
def policy_show(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name, such as volume:create.")], config: Config = None
) -> None:
    """Show a rule: its check in effect, its default, and which of the usual roles it lets."""
    from breezeblock.api.policy import BASE, RULES, persona_of

    book, source = _in_effect(config)
    entry = book.entries.get(rule)
    if entry is None:
        near = [name for name in book.entries if rule.rsplit(":", 1)[-1] in name]
        also = f" Near it: {', '.join(near[:8])}." if near else ""
        raise Failed(f"There is no rule {rule}: `breezeblock policy list` shows all.{also}")
    default = RULES[rule].check if rule in RULES else BASE.get(rule)
    print(f"{rule}")
    print(f"  in effect  {entry.text or '(anybody)'}  ({source if entry.from_file else 'default'})")
    print(f"  default    {'none: a rule of the file' if default is None else default}")
    for persona, may in persona_of(book, rule).items():
        print(f"  {persona:<9}  {may}")


@access_app.command("check")
def policy_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of rules and checks (YAML).")],
) -> None:
    """Say whether a file of policies can be used, and all that is wrong or odd with it. Nothing is changed."""
    from breezeblock.api.policy import PolicyError, load

    try:
        _, book = load(file)
    except PolicyError as error:
        raise Failed(f"The policies cannot be used:\n{error}") from error
    for warning in book.warnings:
        print(f"warning: {warning}")
    changed = sum(entry.from_file for entry in book.entries.values())
    print(f"The policies can be used: {changed} of {len(book.entries)} rules are from the file.")


@access_app.command("sample")
def policy_sample() -> None:
    """Print a file with every rule and its default as a comment, to begin one's own."""
    from breezeblock.api.policy import read_book
    from breezeblock.api.policy.registered import sample

    print(sample(read_book("")), end="")


def _in_effect(config: Path | None) -> "tuple[Book, str]":
    """The rules as the settings have them, and the file's name."""
    chosen = settings.load(config, os.environ).settings
    from breezeblock.api.policy import PolicyError, load, read_book

    if chosen.policy.file is None:
        return read_book(""), ""
    try:
        return load(chosen.policy.file)[1], str(chosen.policy.file)
    except PolicyError as error:
        raise Failed(f"The policies cannot be used:\n{error}") from error
