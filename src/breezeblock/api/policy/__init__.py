"""Who may do what: rules by Cinder's names, in the language of oslo.policy, overridden by a file."""

from breezeblock.api.policy.book import Book, Entry, PolicyError, read_book
from breezeblock.api.policy.rights import Policy, Rights, Target, load, persona_of
from breezeblock.api.policy.rules import BASE, NOT_ASKED, RULES, Rule

__all__ = [
    "BASE",
    "NOT_ASKED",
    "RULES",
    "Book",
    "Entry",
    "Policy",
    "PolicyError",
    "Rights",
    "Rule",
    "Target",
    "load",
    "persona_of",
    "read_book",
]
