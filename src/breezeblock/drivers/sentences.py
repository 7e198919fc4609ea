"""What operators and users read of the errors of a filesystem."""

import errno
from collections.abc import Mapping
from typing import Final

__all__ = ["SENTENCES"]

# Paths stay in the log: they are nothing to users.
SENTENCES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "has no space left.",
    errno.EDQUOT: "has used up its disk quota.",
    errno.EROFS: "is mounted read-only.",
    errno.EIO: "reported an input/output error; the kernel log of the node tells more.",
    errno.EACCES: "denies access: its files must belong to the user that runs the service.",
    errno.EPERM: "denies access: its files must belong to the user that runs the service.",
    errno.EFBIG: "cannot hold a file of that size.",
    errno.ENOENT: "lost a file or folder in the middle of the call.",
    errno.ENOTDIR: "contains something that is not ours in the place of a folder.",
    errno.EISDIR: "contains a folder in the place of a volume.",
    errno.ESTALE: "has a stale network mount; it must be mounted again.",
    errno.ETIMEDOUT: "did not answer in time.",
    errno.EMFILE: "cannot be used now: the service has too many open files.",
    errno.ENFILE: "cannot be used now: the node has too many open files.",
    errno.EOPNOTSUPP: "is on a filesystem that cannot allocate (fallocate), which is needed to extend volumes safely.",
}
