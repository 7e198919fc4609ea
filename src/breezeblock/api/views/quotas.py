"""Quotas as JSON."""

from collections.abc import Mapping
from typing import Any

from breezeblock.resources.quota_sets import Quota


def limits(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    return {resource: quota.limit for resource, quota in quotas.items()}


def usage(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    """A charge is made with the resource itself, so nothing is ever only reserved."""
    return {
        resource: {"limit": quota.limit, "in_use": quota.in_use, "reserved": 0} for resource, quota in quotas.items()
    }
