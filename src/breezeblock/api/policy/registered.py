"""Our rules for oslo.policy's own commands, by the entry points that those look for."""

import json
import sys
from collections.abc import Iterator, Sequence

from oslo_config import cfg
from oslo_policy import policy as oslo

from breezeblock.api.policy.book import Book
from breezeblock.api.policy.rules import BASE, FORMERLY, RULES

# What the commands are called with besides the options of a configuration, each with a value.
_THEIRS = ("namespace", "output-file")


def list_rules() -> Sequence[oslo.RuleDefault]:
    """Every rule with its default."""
    texts = {**BASE, **{name: rule.check for name, rule in RULES.items()}}
    return [oslo.RuleDefault(name, text, description=described(name)) for name, text in texts.items()]


def get_enforcer() -> oslo.Enforcer:
    """An enforcer with our rules, which reads what the command line says (`--config-file`)."""
    given = iter(sys.argv[1:])
    conf = cfg.ConfigOpts()
    conf(list(_configuring(given)), project="breezeblock", default_config_files=[])
    enforcer = oslo.Enforcer(conf)
    enforcer.register_defaults(list_rules())
    return enforcer


def _configuring(given: Iterator[str]) -> Iterator[str]:
    for word in given:
        if word.lstrip("-").partition("=")[0] not in _THEIRS:
            yield word
        elif "=" not in word:
            next(given, None)


def described(name: str) -> str:
    """What there is to say of a rule besides its check."""
    formerly = [old for old, new in FORMERLY.items() if name in new]
    return (
        f"Once a part of {formerly[0]}."
        if formerly
        else "Others refer to it."
        if name in BASE
        else "A rule of the API."
    )


def sample(book: Book) -> str:
    """A file in which every rule stands as a comment with its default."""
    lines = [
        "# Rules and checks: take away the # in front of a rule, and write what it shall ask for instead.",
        "# Rules that are not here, or are comments, are as Cinder has them by default.",
        "",
    ]
    for name, entry in book.entries.items():
        lines.append(f"# {json.dumps(name)}: {json.dumps(entry.text)}")
    return "\n".join(lines) + "\n"
