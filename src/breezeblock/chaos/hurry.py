"""Workers that collect the garbage of backups as soon as there is any: in a run of minutes none would be due otherwise."""

import os
from pathlib import Path
from typing import Final

__all__ = ["hurried"]

# Python runs this in every process that has its folder in PYTHONPATH.
_SITE: Final = """\
import sys
if "breezeblock.processes.worker" in sys.orig_argv:
    from breezeblock.node.identity import Limits
    from breezeblock.protocol import archives
    assert Limits().upkeep_s == Limits.__init__.__defaults__[-1]
    Limits.__init__.__defaults__ = (*Limits.__init__.__defaults__[:-1], {every_s})
    archives.COLLECT_AFTER_US = archives.TRY_AGAIN_US = int({every_s} * 1_000_000)
    archives.SWEPT_AGAIN_AFTER_US = int({again_s} * 1_000_000)
"""


def hurried(folder: Path, *, every_s: float, again_s: float) -> dict[str, str]:
    """The environment of a service whose workers look so often whether anything is due, in an empty folder.

    `again_s`: after how long what is doomed is swept the second time, and forgotten.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE.format(every_s=every_s, again_s=again_s), encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
