"""`breezeblock backup policy set | list | show | remove | run`: policies that the service applies by itself."""

import asyncio
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection

from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.model.keeping import UNITS, Keep, shown, zone_named
from breezeblock.resources import backup_policies
from breezeblock.resources.backup_policies import Ended, Policy
from breezeblock.resources.keeping import Rule
from breezeblock.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


def set_policy(settings: Settings, rule: Rule) -> str:
    """Store a policy under its mark. Returns when it is applied. Raises Failed."""
    due_at_us = _transact(settings, _set, rule)
    return _instant(rule.keep, due_at_us)


def remove(settings: Settings, name: str) -> None:
    """Forget one. Raises Failed."""
    _transact(settings, _change, backup_policies.remove_policy, name)


def run_soon(settings: Settings, name: str) -> None:
    """Let one be due now. Raises Failed."""
    _transact(settings, _change, backup_policies.run_soon, name)


def all_of(settings: Settings, name: str | None = None) -> list[Policy]:
    """All policies, or the one of that name. Raises Failed."""
    found = [one for one in _transact(settings, _read) if name in (None, one.name)]
    if name is not None and not found:
        raise Failed(f"There is no backup policy {name}.")
    return found


def as_data(policy: Policy) -> dict[str, Any]:
    """One for programs: instants in words, too."""
    found: dict[str, Any] = msgspec.to_builtins(policy)
    return found | {"due_at": _instant(policy.rule.keep, policy.due_at_us)}


def volumes_of(policy: Policy) -> str:
    """Which volumes it is for, in words."""
    chosen = policy.rule.chosen
    parts = []
    if chosen.volume_id is not None:
        parts.append(f"volume {chosen.volume_id}")
    if chosen.metadata is not None:
        parts.append(f"{chosen.metadata[0]}={chosen.metadata[1]}")
    if chosen.project_id is not None:
        parts.append(f"project {chosen.project_id}")
    return ", ".join(parts) or "all"


def keeps(policy: Policy) -> str:
    """What stays, in words."""
    keep = policy.rule.keep
    counts = {"last": keep.last} | {unit: keep.by_unit()[unit] for unit in UNITS}
    whose = "" if policy.rule.only_marked else ", of all backups"
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) + f" ({keep.zone}){whose}"


def makes(policy: Policy) -> str:
    """What it makes, in words."""
    if not policy.rule.takes:
        return "nothing"
    kind = "incremental" if policy.rule.incremental else "whole"
    return f"{kind} backups in {policy.rule.store}"


def due(policy: Policy) -> str:
    """When it is applied next, in words."""
    if policy.is_running:
        return "now"
    return "soon" if policy.due_at_us == 0 else _instant(policy.rule.keep, policy.due_at_us)


def last(policy: Policy) -> str:
    """What the last run has come to, in words."""
    ended = policy.ended
    return "" if ended is None else f"{_instant(policy.rule.keep, ended.began_at_us)}: {_told(ended)}"


def reasons(policy: Policy) -> list[str]:
    """Why the last run was refused what it asked for, a line for each volume or backup."""
    return [] if policy.ended is None else [f"{id_}: {why}" for id_, why in policy.ended.reasons.items()]


def _told(ended: Ended) -> str:
    text = f"{ended.taken} new, {ended.removed} deleted, {ended.refused} refused"
    return text if ended.outcome == "done" else f"{ended.outcome} ({ended.detail}) after {text}"


def _instant(keep: Keep, at_us: int) -> str:
    zone = zone_named(keep.zone)
    assert zone is not None, "checked before it was stored"
    return shown(at_us, zone)


def _transact(settings: Settings, f: Callable[Concatenate[Asking, P], Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    async def transact() -> Any:
        async with asking(settings) as at:
            return await f(at, *args, **kwargs)

    return asyncio.run(transact())


async def _set(at: Asking, rule: Rule) -> int:
    assert rule.mark is not None, "it is stored under it"
    return await at.store.run(backup_policies.set_policy, policy_id=at.env.ids.uuid(), name=rule.mark, rule=rule)


async def _change(at: Asking, f: Callable[..., None], name: str) -> None:
    def change(tx: Connection) -> None:
        f(tx, name=name)

    await at.store.run(change)


async def _read(at: Asking) -> list[Policy]:
    return await at.store.read(backup_policies.policies)
