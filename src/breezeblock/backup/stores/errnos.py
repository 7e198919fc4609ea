"""What the errors of a filesystem mean for a backup: what passes is tried again for hours, what does not is told at once."""

import errno
from collections.abc import Mapping
from typing import Final

from breezeblock.backup.contract import StoreRefused, StoreUnavailable

__all__ = ["PASSES", "STAYS", "explained"]

_ACCESS: Final = "denies access: its files must belong to the user that runs the service."
_SILENT: Final = "cannot reach its server."

# What an outage looks like, and what is over when others have finished.
PASSES: Final[Mapping[int, str]] = {
    # The server was restarted with another state, or exports something else now. A new mount heals it.
    errno.ESTALE: "has a stale network mount; it must be mounted again.",
    # A soft mount gives up with one of these; which one depends on the version and on what was asked.
    errno.ETIMEDOUT: "did not answer in time.",
    # As a soft mount tells it too, so it is an outage as often as a broken disk; and there nothing is lost by asking again.
    errno.EIO: "reported an input/output error; the kernel log of the node tells more.",
    errno.EREMOTEIO: "reported an input/output error; the kernel log of the node tells more.",
    errno.EHOSTDOWN: _SILENT,
    errno.EHOSTUNREACH: _SILENT,
    errno.ENETDOWN: _SILENT,
    errno.ENETUNREACH: _SILENT,
    errno.ENETRESET: _SILENT,
    errno.ECONNREFUSED: _SILENT,
    errno.ECONNRESET: _SILENT,
    errno.ECONNABORTED: _SILENT,
    errno.ENOTCONN: _SILENT,  # as FUSE tells that its program has ended
    errno.ESHUTDOWN: _SILENT,
    errno.EPIPE: _SILENT,
    # A folder that was there is not: it is being mounted, or an administrator moves things.
    errno.ENOENT: "lost a file or folder in the middle of the call.",
    errno.EMFILE: "cannot be used now: the service has too many open files.",
    errno.ENFILE: "cannot be used now: the node has too many open files.",
    errno.ENOMEM: "cannot be used now: the node has no memory left.",
    errno.ENOBUFS: "cannot be used now: the node has no memory left.",
    errno.ENOLCK: "cannot be used now: its server has no locks left.",
    errno.EAGAIN: "is busy.",
    errno.EBUSY: "is busy.",
    errno.EINTR: "was interrupted.",
}
# What stays until somebody does something about it.
STAYS: Final[Mapping[int, str]] = {
    errno.ENOSPC: "has no space left.",
    errno.EDQUOT: "has used up its disk quota.",
    errno.EROFS: "is mounted read-only.",
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EFBIG: "cannot hold a file of that size.",
    errno.ENAMETOOLONG: "cannot hold files with names of that length.",
    errno.EXDEV: "has folders on several filesystems; it needs one for all of it.",
    errno.ENOTDIR: "contains something that is not ours in the place of a folder.",
    errno.EEXIST: "contains something that is not ours in the place of a folder.",
    errno.EISDIR: "contains a folder in the place of an object.",
    errno.ENOTEMPTY: "contains a folder in the place of an object.",
    errno.ELOOP: "contains links that lead nowhere.",
    errno.EUCLEAN: "has a damaged filesystem.",
    errno.ENODEV: "has lost its device.",
    errno.ENXIO: "has lost its device.",
}


def explained(error: OSError, *, store: str) -> StoreUnavailable | StoreRefused:
    """The error as users and operators read it. One that nobody thought of stays: it is told at once, not after hours."""
    number = error.errno or 0
    if number in PASSES:
        return StoreUnavailable(f"Backup store {store} {PASSES[number]}")
    says = STAYS.get(number, f"failed: {error.strerror or 'unknown error'}.")
    return StoreRefused(f"Backup store {store} {says}")
