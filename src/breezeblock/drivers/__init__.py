"""Storage drivers. `contract.py` is the page that driver authors read; `file.py` is the first driver."""

from breezeblock.drivers.contract import (
    Capabilities,
    Context,
    Driver,
    FenceScope,
    Link,
    ObjectName,
    PoolReport,
    Progress,
)

__all__ = ["Capabilities", "Context", "Driver", "FenceScope", "Link", "ObjectName", "PoolReport", "Progress"]
