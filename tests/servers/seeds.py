"""Data folders of fresh servers, made once for each version and kept in the user's cache: copying takes a tenth of making."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["copy_seed"]

_CACHE: Final = "breezeblock/test-servers"


def copy_seed(name: str, *, recipe: str, make: Callable[[Path], None], to: Path, user: str | None) -> None:
    """Copy what `make` puts into a folder, for `user`. It is made anew when `recipe` changes."""
    seed = _cache() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not seed.is_dir():
        _make(seed, make, user)
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=always", str(seed), str(to)], check=True)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base) / _CACHE
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make(seed: Path, make: Callable[[Path], None], user: str | None) -> None:
    """Made elsewhere and moved there whole: whoever dies half-way, or comes second, leaves a good one or none."""
    # Where the server's user may go, which the cache of root is not.
    with tempfile.TemporaryDirectory(prefix="bb-seed-") as elsewhere:
        Path(elsewhere).chmod(0o755)
        fresh = Path(elsewhere) / "seed"
        fresh.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(fresh, user, user)
        make(fresh)
        beside = Path(tempfile.mkdtemp(prefix=f".{seed.name}-", dir=seed.parent))
        try:
            subprocess.run(["cp", "-a", str(fresh), str(beside / "seed")], check=True)
            if not seed.is_dir():
                _move_in(beside / "seed", seed)
        finally:
            shutil.rmtree(beside)


def _move_in(fresh: Path, seed: Path) -> None:
    try:
        fresh.rename(seed)
    except OSError:
        if not seed.is_dir():  # not because another one was faster
            raise
